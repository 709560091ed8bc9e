"""What `rerun` compares; `test_end_to_end_identity.py` repeats whole runs."""

import copy
from pathlib import Path
from typing import Any

import pytest

from twotower.config.errors import InputError
from twotower.pipeline.rerun import differences, not_reproduced, rerun
from twotower.runs.result import Result, Status, write_result
from twotower.runs.run import Run

THEN: dict[str, Any] = {
    "versions": {"python": "3.11.0", "torch": "2.9.0"},
    "provenance": {
        "code": {"fingerprint": "f" * 64, "commit": "a" * 40, "dirty": False},
        "machine": {"cpu": "A", "cores": 4, "threads": 2},
    },
}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"versions__torch": "2.10.0"}, ["versions: torch 2.9.0, now 2.10.0"]),
        ({"versions__scipy": "1.0"}, ["versions: scipy None, now 1.0"]),
        ({"provenance__machine__threads": 1}, ["machine: threads 2, now 1"]),
        (
            {"provenance__code__fingerprint": "0" * 64, "provenance__code__commit": None},
            ["code: commit aaaaaaaaaa, now unknown, or uncommitted changes"],
        ),
        ({"provenance__code__commit": "b" * 40, "provenance__code__dirty": True}, []),  # the same code
    ],
)
def test_each_difference_is_reported_with_both_values(changes: dict[str, Any], found: list[str]) -> None:
    now = copy.deepcopy(THEN)
    for path, value in changes.items():
        *parts, key = path.split("__")
        place = now
        for part in parts:
            place = place[part]
        place[key] = value
    assert differences(Result(status="ok", **THEN), Result(status="failed", **now)) == found


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
