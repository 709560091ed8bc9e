"""Searches as a user runs them: killed and continued, pruned, refused."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from forks import SCRIPTS, start
from in_process import run_script
from quick import QUICK

TINY = [
    "data=synthetic",
    "data.num_users=300",
    "data.num_items=120",
    "data.num_interactions=5000",
    "objective.batch_size=256",
    "objective.epoch_requests=1024",
    "trainer.max_epochs=4",
    "trainer.refit=false",
    "trainer.checkpoint_every_steps=5",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    *QUICK,
    "name=t",
]


WITH_BAD_TRIALS = [
    "objective=recent_interactions",
    "objective.epoch_examples=3072",
    "item_bias=recent_popularity",
    "history.dropout=0.0",
    "user_tower.widths=[128]",
    "item_tower.widths=[]",
]
"""A recipe that some settings of a search spoil."""


def search(root: Path, *arguments: str, status: int = 0, tiny: Sequence[str] = TINY) -> str:
    done = run_script("train", *tiny, f"output_root={root}", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def found(root: Path) -> dict[str, Any]:
    (path,) = root.glob("t/*/sweep.json")
    return dict(json.loads(path.read_text())["search"])


def results(root: Path) -> dict[str, dict[str, Any]]:
    return {
        path.parent.name: json.loads(path.read_text()) for path in sorted(root.glob("t/*/0*/result.json"))
    }


@pytest.mark.slow
def test_a_killed_search_goes_on_to_its_number_of_trials(tmp_path: Path) -> None:
    arguments = ("sweep=tpe", "sweep.num_trials=3", "sweep.pruner=none", "console=quiet")
    arguments += ("trainer.max_epochs=2",)
    process = start(SCRIPTS / "train.py", *TINY, f"output_root={tmp_path}", *arguments, out=tmp_path / "out")
    until = time.monotonic() + 900
    while not list(tmp_path.glob("t/*/0001_*/checkpoints/fit/[lf]*.ckpt")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    first = next(tmp_path.glob("t/*/0000_*/result.json"))
    before = first.stat().st_mtime_ns
    search(tmp_path, *arguments)
    assert first.stat().st_mtime_ns == before
    assert sorted(name[:5] for name in results(tmp_path)) == ["0000_", "0001_", "0002_"]
    log = next(tmp_path.glob("t/*/0001_*/train.log")).read_text()
    assert "resumes from" in log or "ended in an earlier process" in log
    whole = found(tmp_path)
    assert whole["states"] == {"complete": 3}
    best = max(result["metrics"]["valid/recall_at_20"] for result in results(tmp_path).values())
    assert whole["best"]["value"] == best
    assert whole["best"]["command"].startswith("twotower train data=synthetic")


@pytest.mark.slow
def test_hopeless_trials_are_stopped(tmp_path: Path) -> None:
    arguments = (
        "sweep=random",
        "sweep.num_trials=6",
        "sweep.pruner=median",
        "sweep.num_startup=2",
        "console=quiet",
    )
    tiny = [each for each in TINY if "epoch_requests" not in each] + WITH_BAD_TRIALS
    search(tmp_path, *arguments, tiny=tiny)
    whole, each = found(tmp_path), results(tmp_path)
    assert sum(whole["states"].values()) == len(each) == 6
    assert {row["job"]: {"complete": "ok"}.get(row["state"], row["state"]) for row in whole["trials"]} == {
        name: result["status"] for name, result in each.items()
    }
    assert "pruned" in whole["states"]
    stopped = [result for result in each.values() if result["status"] == "pruned"]
    assert all(2 <= len(result["curves"]["valid/recall_at_20"]) < 4 for result in stopped)
    assert not any("metrics" in result for result in stopped)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep.pruner=medium"], "did you mean 'median'?"),
        (["sweep.num_trials=0"], "sweep.num_trials"),
        (["-m", "embeding_dim=interval(8, 16)"], "embeding_dim"),
        (["-m", "embedding_dim=interval(0, 16)"], "the corners of this search"),
    ],
)
def test_bad_input_ends_with_status_2_and_runs_nothing(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert words in search(tmp_path, "sweep=tpe", *arguments, status=2)
    assert not list(tmp_path.glob("t/*/0*"))
