"""Evaluate the towers of a run again, with other metrics or baselines, into a new folder beside it.

  python scripts/evaluate.py run=outputs/default/<time>
  python scripts/evaluate.py run=outputs/default/<time> metrics.ks=[5,10] metrics.filter_seen=false

The new folder holds config.yaml, result.json (with training_reused_from), tensorboard/ and per_user.parquet.
"""

from pathlib import Path
from typing import Any

from twotower.config import run_door


def task(settings: dict[str, Any], folder: Path) -> int:
    from twotower.assemble import reevaluate

    return reevaluate(Path(settings["run"]), {key: settings[key] for key in ("metrics", "baselines")})


if __name__ == "__main__":
    run_door("evaluate", task, __doc__ or "")
