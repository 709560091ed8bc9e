"""A file made part by part: whole or absent, the same bytes after a kill, counted."""

import json
import os
import pathlib
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forks import Fork

from twotower.config.errors import InputError
from twotower.files.lock import lock_folder
from twotower.files.part_files import new_folder, parts_folder, write_in_parts

PLAN = {"what": "squares"}


def squares(number):
    """0; 1, 4; 9, 16, 25; ...: part n has n + 1 rows."""
    first = number * (number + 1) // 2
    return pa.table(
        {"square": pa.array([each * each for each in range(first, first + number + 1)], pa.int64())}
    )


def broken_at(last):
    def make(number):
        if number == last:
            raise KeyboardInterrupt
        return squares(number)

    return make


def test_parts_become_one_file_a_row_group_each(tmp_path):
    out = tmp_path / "new" / "out.parquet"
    assert write_in_parts(out, PLAN, 4, squares) == 10
    assert pq.read_table(out)["square"].to_pylist() == [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    assert pq.read_metadata(out).num_row_groups == 4
    assert json.loads(pq.read_schema(out).metadata[b"twotower"]) == PLAN
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]


def test_after_kill_9_the_same_call_goes_on_to_the_same_bytes(tmp_path):
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    write_in_parts(whole, PLAN, 4, squares)

    def make(number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return squares(number)

    killed = Fork(lambda: write_in_parts(out, PLAN, 4, make), tmp_path / "said")
    assert killed.wait() == -signal.SIGKILL
    (tmp_path / "said").unlink()
    assert not out.exists()
    made = []
    write_in_parts(out, PLAN, 4, lambda number: made.append(number) or squares(number))
    assert made == [2, 3]
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "whole.parquet"]


def test_nothing_is_left_of_a_file_whose_parts_a_killed_process_joined(tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"

    def work():
        monkeypatch.setattr(pq, "read_table", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        write_in_parts(out, PLAN, 2, squares)

    assert Fork(work, tmp_path / "said").wait() == -signal.SIGKILL
    (tmp_path / "said").unlink()
    assert write_in_parts(out, PLAN, 2, broken_at(0)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_an_incomplete_part_is_written_again(tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        write_in_parts(out, PLAN, 3, broken_at(2))
    part = parts_folder(out) / "000001.parquet"
    part.write_bytes(part.read_bytes()[:-7])
    assert write_in_parts(out, PLAN, 3, squares) == 6


def test_killed_once_the_file_was_there_only_the_parts_are_cleared(tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        write_in_parts(out, PLAN, 2, broken_at(1))
    pq.write_table(pa.concat_tables([squares(0), squares(1)]), out)
    assert write_in_parts(out, PLAN, 2, broken_at(0)) == 3
    assert not parts_folder(out).exists()


def test_existing_files_are_neither_overwritten_nor_mixed(tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        write_in_parts(out, PLAN, 2, broken_at(1))
    with pytest.raises(InputError, match="of another command or bundle; run that command"):
        write_in_parts(out, {"what": "cubes"}, 2, squares)
    with (
        lock_folder(parts_folder(out), "file"),
        pytest.raises(InputError, match="this file is in use by process"),
    ):
        write_in_parts(out, PLAN, 2, squares)
    write_in_parts(out, PLAN, 2, squares)
    with pytest.raises(InputError, match="exists, and is never overwritten; move it away"):
        write_in_parts(out, PLAN, 2, squares)
    with pytest.raises(InputError, match=r"expected the name of a Parquet file, such as out.parquet"):
        write_in_parts(tmp_path / "out.csv", PLAN, 2, squares)


def test_a_folder_that_appears_meanwhile_is_kept_and_told(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"

    def write() -> None:
        with new_folder(out) as folder:
            (folder / "mine").touch()
            out.mkdir()
            (out / "theirs").touch()

    with pytest.raises(InputError, match=r"out: exists, and is never overwritten; move it away"):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]
    (out / "theirs").unlink()
    with pytest.raises(InputError, match="exists"):
        write()
    assert not list(out.iterdir())
