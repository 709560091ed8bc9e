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


def result_of(root: Path, name: str, *overrides: str) -> dict[str, Any]:
    """Train in `root/default/name` and return what result.json has."""
    settings = load_settings("train", [*TINY, f"output_root={root}", *overrides])
    settings = {key: value for key, value in settings.items() if key not in SWEEP_ONLY}
    assert train(RunConfig.composed(settings), root / "default" / name) == 0
    return dict(json.loads((root / "default" / name / "result.json").read_text()))
