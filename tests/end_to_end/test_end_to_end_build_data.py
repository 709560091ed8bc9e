"""`twotower build_data` stores the data set of a long log, and a training opens it."""

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


def test_a_training_opens_the_data_set() -> None:
    done = run_script("build_data", *DATA)
    assert done.returncode == 0, done.stderr
    assert "ok  stored, " in done.stdout
    assert f"rows (interactions)       {2 * (MAX_ROWS_IN_MEMORY // 2 + 1):,}" in done.stdout
    assert "ok  stored before, " in run_script("build_data", *DATA).stdout

    done = run_script("train", *DATA, "features=table_files", *TINY, "console=quiet")
    assert done.returncode == 0, done.stderr
    (result,) = Path("outputs").glob("default/*/result.json")
    (meta,) = Path("outputs/.cache").glob("*/meta.json")
    stored = json.loads(meta.read_text())["fields"]["fingerprint"]
    assert json.loads(result.read_text())["data"]["fingerprint"] == stored


def test_settings_that_do_not_fit_together_are_told_at_once(tmp_path: Path) -> None:
    for words, message in {
        ("split=given",): "split: this data has no split column",
        ("shard=1/2",): "shard: ",
        ("data.interactions_path=no",): "data.interactions_path: ",
    }.items():
        done = run_script("build_data", *DATA[:2], *words)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
