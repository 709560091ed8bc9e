"""Jobs of the older windows of `split=rolling`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twotower.data.splits.rolling import Rolling
from twotower.experiments.runs.benchmark import contract_problems, fixed_settings
from twotower.experiments.runs.result import Result
from twotower.jobs.older_windows import train_older_windows


def test_older_windows_of_a_benchmark_can_be_trained(tmp_path: Path) -> None:
    split = Rolling.Config(num_windows=3)
    settings: dict[str, Any] = {
        "data": {"_target_": "twotower.data.sources.synthetic.Synthetic"},
        "split": split.spec(),
        "metrics": {"_target_": "twotower.evaluation.evaluator.Evaluator", "ks": [20]},
        "trainer": {"monitor": "valid/recall_at_20"},
    }
    settings["benchmark"] = {
        "name": "mine",
        "num_items": 9,
        "files": ["a"],
        "fixed": fixed_settings(settings),
    }
    assert not list(contract_problems(settings))
    run = SimpleNamespace(
        folder=tmp_path,
        settings=settings,
        overrides=("benchmark=mine",),
        warnings=[],
    )
    config = SimpleNamespace(split=split, trainer=SimpleNamespace(monitor="valid/recall_at_20"))
    job: Any = SimpleNamespace(run=run, config=config, console=logging.NullHandler())
    problems: list[Any] = []

    def run_job(payload: Mapping[str, Any]) -> int:
        problems.append([*contract_problems(payload["settings"])])
        return 0

    train_older_windows(job, Result(status="ok"), run_job)
    assert problems == [[], []]
