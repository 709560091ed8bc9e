"""Evaluate the towers of a run again, with other metrics or baselines, into a new folder next to it.

  twotower evaluate run=outputs/default/<time>
  twotower evaluate run=outputs/default/<time> metrics.ks=[5,10] metrics.filter_seen=false
  twotower evaluate run=outputs/default/<time> test=reveal     the test split of a run with test=hidden

The new folder holds config.yaml, result.json (with training_reused_from), what TensorBoard reads and the
users' values, per_user.parquet.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Evaluate again, into a new folder."""
    from twotower.jobs.evaluate import reevaluate

    changes = {key: settings[key] for key in ("metrics", "baselines", "console")}
    changes |= {"test": "read"} if settings["test"] == "reveal" else {}
    return reevaluate(Path(settings["run"]), changes, overrides, settings["trusted_packages"])
