"""A training reads a long log in blocks and stores its data set, and the next one opens it."""

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


def test_a_long_log_is_read_in_blocks_and_stored() -> None:
    folders = []
    for _ in range(2):
        done = run_script("train", *DATA, "features=table_files", *TINY, "reuse=false")
        assert done.returncode == 0, done.stderr
        (folder,) = {path.parent for path in Path("outputs").glob("default/*/result.json")} - set(folders)
        folders.append(folder)
    log = (folders[0] / "train.log").read_text()
    assert f"rows (interactions)       {2 * (MAX_ROWS_IN_MEMORY // 2 + 1):,}" in log
    (meta,) = Path("outputs/.cache").glob("*/meta.json")  # the second run opened it
    stored = json.loads(meta.read_text())["fields"]["fingerprint"]
    assert json.loads((folders[1] / "result.json").read_text())["data"]["fingerprint"] == stored


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("split=given", "split: this data has no split column"),
        ("data.interactions_path=no", "data.interactions_path: "),
    ],
)
def test_settings_that_do_not_fit_together_are_told_at_once(tmp_path: Path, words: str, message: str) -> None:
    done = run_script("train", *DATA[:2], "features=table_files", words)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
