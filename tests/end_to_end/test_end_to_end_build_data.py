"""`twotower build_data`: several machines read a log, and a training opens what they built together."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import run_script
from quick import QUICK

from twotower.data.interaction_files import MAX_ROWS_IN_MEMORY

DATA = ("data=table_files", "data.interactions_path=log", "split=temporal_share", "split.user_share=0.01")
TINY = (
    *("trainer.max_epochs=1", "trainer.refit=false", "negatives=in_batch", *QUICK),
    *("objective=next_item", "objective.batch_size=256", "objective.shuffle_rows=1500"),
)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two files of three row groups each."""
    monkeypatch.chdir(tmp_path)
    rng, number = np.random.default_rng(0), MAX_ROWS_IN_MEMORY // 2 + 1
    Path("log").mkdir()
    for name in ("a", "b"):
        users, items = rng.integers(0, 20_000, number), rng.integers(0, 300, number)
        times = 1_700_000_000 + rng.integers(0, 10**7, number)
        frame = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": times})
        frame.to_parquet(f"log/{name}.parquet", index=False, row_group_size=40_000)
    return tmp_path / "log"


def content(root: str) -> dict[str, bytes]:
    folder = Path(root) / ".cache"
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }


def test_a_training_opens_what_machines_with_a_share_each_have_read() -> None:
    for number in (3, 1):
        done = run_script("build_data", *DATA, f"shard={number}/3", "out=parts")
        assert done.returncode == 0, done.stderr
        assert "interactions, " in done.stdout
    merge = (*DATA, "parts=parts", "output_root=merged")
    done = run_script("build_data", *merge)
    command = f"twotower build_data {' '.join(DATA)} output_root=merged out=parts shard=2/3"
    assert done.returncode == 2
    assert done.stderr == (
        f"error: parts=parts: 2 of 3 parts are finished; missing: part-2-of-3; type: {command}\n"
    )
    assert run_script(*command.split()[1:]).returncode == 0  # what the message says
    done = run_script("build_data", *merge)
    assert done.returncode == 0, done.stderr
    assert "ok  stored, " in done.stdout
    assert f"rows (interactions)       {2 * (MAX_ROWS_IN_MEMORY // 2 + 1):,}" in done.stdout
    assert run_script("build_data", *DATA, "output_root=alone").returncode == 0
    assert content("merged") == content("alone")
    assert len({name.partition("/")[0] for name in content("merged")}) == 1
    assert "ok  stored before, " in run_script("build_data", *merge).stdout

    done = run_script("train", *DATA, "features=table_files", *TINY, "output_root=merged", "console=quiet")
    assert done.returncode == 0, done.stderr
    (result,) = Path("merged").glob("default/*/result.json")
    (meta,) = Path("merged/.cache").glob("*/meta.json")
    stored = json.loads(meta.read_text())["fields"]["fingerprint"]
    assert json.loads(result.read_text())["data"]["fingerprint"] == stored


def test_settings_that_do_not_fit_together_are_told_at_once(tmp_path: Path) -> None:
    for words, message in {
        ("shard=1/2",): "out: shard=1/2 writes a part; type out=FOLDER",
        ("out=parts",): "out: is the folder of the parts of shard=k/n; type shard=, or parts= to merge",
        ("shard=1/2", "out=parts", "parts=parts"): "parts: merges what shard=k/n has written; type one",
        ("shard=3", "out=parts"): "shard=3: expected k/n, with k",
        ("split=given",): "split: this data has no split column",
        ("shard=1/7", "out=parts"): "the interactions have 6 row groups, and a shard reads one or more; type",
        ("parts=parts",): "parts=parts: has no finished part; type: twotower build_data",
        ("data.interactions_path=no",): "data.interactions_path: ",
    }.items():
        done = run_script("build_data", *DATA[:2], *words)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    Path("log.csv").write_text("user_id,item_id,timestamp\n1,1,1700000000\n")
    done = run_script("build_data", DATA[0], "data.interactions_path=log.csv", "shard=1/2", "out=parts")
    assert (done.returncode, done.stdout) == (2, "")
    assert "shard=1/2: only more than 200,000 interactions in Parquet" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.csv"]
