"""What `rerun` compares; `test_end_to_end_identity.py` repeats whole runs."""

from pathlib import Path

import pytest

from twotower.config.errors import InputError
from twotower.experiments.runs.result import Result, Status, write_result
from twotower.experiments.runs.run import Run
from twotower.experiments.runs.tower_origin import find_trainer
from twotower.jobs.rerun import not_reproduced, rerun


def test_metrics_and_towers_are_compared_bit_by_bit(tmp_path: Path) -> None:
    for name, towers in zip("abc", (b"1", b"1", b"2"), strict=True):
        (tmp_path / name / "bundle").mkdir(parents=True)
        (tmp_path / name / "bundle" / "towers.safetensors").write_bytes(towers)
    metrics = Result(status="ok", metrics={"test/recall_at_20": 0.1 + 0.2, "x": 1.0})
    assert not_reproduced(metrics, metrics, tmp_path / "a", tmp_path / "b") == []
    more = metrics.update(metrics={"test/recall_at_20": 0.3, "x": 1.0, "y": 2.0})
    assert not_reproduced(metrics, more, tmp_path / "a", tmp_path / "c") == [
        "test/recall_at_20: 0.30000000000000004, now 0.3",
        "y: None, now 2.0",
        "bundle/towers.safetensors: different bytes",
    ]
    assert not_reproduced(metrics, metrics, tmp_path / "a", tmp_path) == []  # no bundle, nothing to compare


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "this run has not ended; "),
        ("failed", "this run failed; "),
        ("pruned", "this run was pruned; "),
        ("ok", r"mistakes in .*then/config\.yaml\n"),  # these settings are far from whole
    ],
)
def test_only_finished_runs_with_valid_settings_can_be_repeated(
    tmp_path: Path, status: Status | None, words: str
) -> None:
    run = Run.create(tmp_path / "then", {"console": "jsonl", "seed": 7}, ["seed=7"])
    if status is not None:
        write_result(run.folder, Result(status=status))
    with pytest.raises(InputError, match=words):
        rerun(run.folder)
    assert not list(tmp_path.glob("*rerun*"))


def test_the_run_that_trained_is_found_from_another_working_folder(tmp_path: Path) -> None:
    for name, source in (("first", None), ("second", "outputs/shop/first"), ("third", "outputs/shop/second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("{}")
        write_result(tmp_path / name, Result(status="ok", training_reused_from=source))
    assert find_trainer(tmp_path / "third") == tmp_path / "first"
