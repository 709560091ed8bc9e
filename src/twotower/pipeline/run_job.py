"""One job of a sweep, wherever it runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.config.trust import targets
from twotower.runs.run_files import CONFIG


def run_job(payload: Mapping[str, Any]) -> int:
    """Run a job, or go on with it if its folder is there; returns the exit status.

    What happened stands in its folder's `result.json`, but for what kept it from being opened.

    Args:
        payload: `folder`, `settings`, `overrides` and `trial`, as `Job.payload` makes them.
    """
    from twotower.pipeline.run_config import RunConfig
    from twotower.pipeline.train_run import resume, train

    folder, watch = Path(payload["folder"]), None
    if payload["trial"] is not None:
        from twotower.sweeps.pruning import make_pruning_callback as watch_trial

        watch = watch_trial(payload["trial"])
    if (folder / CONFIG).is_file():
        return resume(folder, watch, [*targets(payload["settings"])])  # what was typed for this job
    return train(RunConfig.composed(payload["settings"], payload["overrides"]), folder, watch)
