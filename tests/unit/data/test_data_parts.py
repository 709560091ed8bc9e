"""Parts of a log that are missing, damaged or of something else: each gives one message."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.interaction_parts import InteractionParts
from twotower.data.sources.table_files import TableFiles
from twotower.files.shards import Shard
from twotower.pipeline.store_data import store_part

T = 1_700_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a log of two files, of three and two row groups, and its parts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twotower.data.interaction_files.MAX_ROWS_IN_MEMORY", 0)
    write_log(tmp_path / "log")
    for number in (1, 2, 3):
        store_part(config(), Shard(number, 3), Path("parts"))
    return tmp_path


def write_log(folder: Path, last_time: int = T + 9) -> None:
    folder.mkdir(exist_ok=True)
    numbers = np.arange(10)
    rows = pd.DataFrame({"user_id": numbers % 3, "item_id": numbers % 4, "timestamp": T + numbers})
    rows.loc[9, "timestamp"] = last_time
    rows.iloc[:6].to_parquet(folder / "a.parquet", index=False, row_group_size=2)
    rows.iloc[6:].to_parquet(folder / "b.parquet", index=False, row_group_size=2)


def config(path: str = "log", **settings: object) -> TableFiles.Config:
    return TableFiles.Config(interactions_path=path, **settings)


def open_parts(settings: TableFiles.Config | None = None, command: str = "COMMAND") -> InteractionParts:
    source = TableFiles(settings or config())
    files = source.interaction_files()
    assert files is not None
    return InteractionParts.open(source, source.fingerprint(), Path("parts"), command, files.tables)


def test_shares_are_row_groups_and_know_the_rows_before_them() -> None:
    files = TableFiles(config()).interaction_files()
    assert files is not None
    shares = [files.share(Shard(number, 3)) for number in (1, 2, 3)]
    assert [(share.num_rows, share.rows_before) for share in shares] == [(2, 0), (4, 2), (4, 6)]
    assert [[path.name for path in share.files] for share in shares] == [["a.parquet"]] * 2 + [["b.parquet"]]
    assert [share.row_groups for share in shares] == [[[0]], [[1, 2]], [[0, 1]]]
    counts = open_parts().count_ids()
    assert counts["user_id"].to_dict() == {0: 4, 1: 3, 2: 3}
    with pytest.raises(InputError, match=r"shard=4/8: the interactions have 5 row groups.* type shard=4/5"):
        files.share(Shard(4, 8))


def test_a_wrong_row_is_named_with_its_number_in_the_file() -> None:
    write_log(Path("log"), last_time=5)
    with pytest.raises(InputError, match=r"log/b.parquet: column 'timestamp', row 4: .*found 5"):
        store_part(config(), Shard(5, 5), Path("more"))
    assert not list(Path("more").iterdir())


def test_what_is_wrong_with_parts() -> None:
    part, twin = Path("parts/part-2-of-3"), Path("twin")
    part.rename(twin)
    with pytest.raises(InputError, match=r"2 of 3 parts are finished; missing: part-2-of-3; .* shard=2/3$"):
        open_parts()
    shutil.copytree("parts/part-1-of-3", part)
    with pytest.raises(InputError, match="part-2-of-3: its shard is 1/3, expected 2/3; move it away, and"):
        open_parts()
    shutil.rmtree(part)
    shutil.copytree(twin, "parts/part-2-of-5")
    with pytest.raises(InputError, match=r"part-\*-of-3 and part-\*-of-5; expected one number"):
        open_parts()
    Path("parts/part-2-of-5").rename(part)
    assert len(open_parts().folders) == 3
    with pytest.raises(InputError, match=r"its data .*, expected .* type: COMMAND shard=1/3$"):
        open_parts(config(timestamp_unit="ms"))
    times = part / "sorted" / "times.npy"
    times.write_bytes(times.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match=r"part-2-of-3: sorted/times.npy is damaged; .* shard=2/3$"):
        open_parts()
    (part / "part.json").unlink()
    with pytest.raises(InputError, match=r"part-2-of-3: not readable .* shard=2/3$"):
        open_parts()


def test_parts_of_data_that_changed_are_refused() -> None:
    write_log(Path("log"), last_time=T)
    with pytest.raises(InputError, match=r"part-1-of-3: its data \(content, and keys of data\) is"):
        open_parts()


def test_a_finished_part_stays_and_a_killed_one_is_written_anew(folder: Path) -> None:
    with pytest.raises(InputError, match="part-2-of-3: exists, and is never overwritten"):
        store_part(config(), Shard(2, 3), Path("parts"))
    before = json.loads(Path("parts/part-2-of-3/part.json").read_text())
    hidden = Path("parts/.part-2-of-3.0123456789abcdef0123456789abcdef")
    Path("parts/part-2-of-3").rename(hidden)  # as a killed process leaves it
    with pytest.raises(InputError, match="missing: part-2-of-3"):
        open_parts()
    store_part(config(), Shard(2, 3), Path("parts"))
    assert json.loads(Path("parts/part-2-of-3/part.json").read_text()) == before
    assert len(open_parts().folders) == 3
