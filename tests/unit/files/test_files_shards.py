"""Shares of rows: their sizes, their names, and what is refused before anything is written."""

import pytest

from twotower.config.errors import InputError
from twotower.files.shards import Shard, list_parts


def test_shares_are_contiguous_and_nearly_equal(tmp_path):
    shares = [Shard(number, 4).positions(10) for number in (1, 2, 3, 4)]
    assert shares == [range(0, 2), range(2, 5), range(5, 7), range(7, 10)]
    names = [Shard(number, 16).part(tmp_path).name for number in range(1, 17)]
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("part-01-of-16.parquet", "part-16-of-16.parquet")


def test_a_shard_is_written_as_a_fraction():
    assert (Shard.parse("3/16"), str(Shard.parse("1/1"))) == (Shard(3, 16), "1/1")
    for wrong in ("3/2", "0/2", "x", "3", 3, "", "1/", "-1/2", "1/2/3", "1 / 2"):
        with pytest.raises(InputError, match=rf"^shard={wrong}: expected k/n, .* type shard=1/16 for"):
            Shard.parse(wrong)


def test_a_folder_has_parts_of_one_number_only(tmp_path):
    assert Shard(2, 3).part(tmp_path / "new") == tmp_path / "new" / "part-2-of-3.parquet"
    for name in ("part-2-of-3.parquet", "part-1-of-3.parquet", ".part-3-of-3.parquet", "log.txt"):
        (tmp_path / name).touch()
    assert list(list_parts("parts", tmp_path)) == [Shard(1, 3), Shard(2, 3)]
    for shard, remedy in ((Shard(2, 8), "2/3"), (Shard(7, 8), "3/3")):
        with pytest.raises(
            InputError, match=rf"one of 3 parts, and shard={shard} one of 8; type shard={remedy}"
        ):
            shard.part(tmp_path)
    with pytest.raises(InputError, match=r"with shard, expected a folder .* type out=.*items_parts$"):
        Shard(1, 2).part(tmp_path / "items.parquet")
    for name in ("items.parquet", "part-01-of-3.parquet"):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match=f"parts={tmp_path}: {name} is not the name of a part"):
            list_parts("parts", tmp_path)
        (tmp_path / name).unlink()
