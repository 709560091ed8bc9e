"""Build and check another index over the towers of a run, without training, into a new folder next to it.

  twotower reindex run=outputs/default/<time> index=ivf_flat index.target_recall=0.99
  twotower reindex run=outputs/default/<time> index=ivf_pq index.num_subquantizers=16

The new folder holds config.yaml, result.json (the run's own metrics, the new index figures and
training_reused_from), per_user.parquet, what TensorBoard reads and bundle/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Build and check the index that is chosen."""
    from twotower.jobs.evaluate import reindex

    changes = {key: settings[key] for key in ("index", "console")}
    return reindex(Path(settings["run"]), changes, overrides, settings["trusted_packages"])
