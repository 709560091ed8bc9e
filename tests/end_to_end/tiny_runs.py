"""Runs on a tiny synthetic data set, in the process of the tests, from settings to the result."""

import json
from pathlib import Path
from typing import Any

from quick import QUICK

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import load_settings
from twotower.jobs.run_config import RunConfig
from twotower.jobs.train_run import train

TINY = [
    "data=synthetic",
    "data.num_users=80",
    "data.num_items=60",
    "data.num_interactions=1600",
    "objective.epoch_requests=512",
    "trainer.max_epochs=2",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    *QUICK,
    "index=flat_ip",
]


def job_settings(*typed: str) -> dict[str, Any]:
    """Return the settings of one run, without the keys that only a sweep has."""
    settings = load_settings("train", list(typed))
    return {key: value for key, value in settings.items() if key not in SWEEP_ONLY}


def train_in(folder: Path, *typed: str) -> None:
    """Train in a folder."""
    assert train(RunConfig.composed(job_settings(*typed)), folder) == 0


def result_in(folder: Path | str) -> dict[str, Any]:
    """Return what result.json of a run has."""
    return dict(json.loads((Path(folder) / "result.json").read_text()))


def result_of(root: Path, name: str, *overrides: str) -> dict[str, Any]:
    """Train in `root/default/name` and return what result.json has."""
    train_in(root / "default" / name, *TINY, f"output_root={root}", *overrides)
    return result_in(root / "default" / name)
