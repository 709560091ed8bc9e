"""One job of a sweep, on any launcher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.config.trust import targets
from twotower.runs.run_files import CONFIG


def run_job(payload: Mapping[str, Any]) -> int:
    """Run a job, or resume it if its folder exists; returns the exit status.

    The outcome is in `result.json` of its folder, unless the folder cannot be opened.

    Args:
        payload: `folder`, `settings`, `overrides` and `trial`, as `Job.payload` makes them.
    """
    from twotower.pipeline.run_config import RunConfig
    from twotower.pipeline.train_run import resume, train

    folder, callback = Path(payload["folder"]), None
    if payload["trial"] is not None:
        from twotower.sweeps.pruning import make_pruning_callback

        callback = make_pruning_callback(payload["trial"])
    if (folder / CONFIG).is_file():
        return resume(folder, callback, [*targets(payload["settings"])])  # trusted when the sweep started
    return train(RunConfig.composed(payload["settings"], payload["overrides"]), folder, callback)
