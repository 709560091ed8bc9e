"""The older windows of a run with `split=rolling`: runs of their own in its folder."""

import logging
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twotower.config.exits import BY_SIGNAL, Stopped
from twotower.experiments.runs.result import Result, read_result_or_failure
from twotower.experiments.runs.run import RESUME_HINT
from twotower.experiments.runs.windows import summarize_windows, window_entry
from twotower.experiments.tensorboard.tensorboard_run import SESSION
from twotower.index.kinds.flat_ip import FlatIP
from twotower.jobs.run_config import WarmStartRunConfig
from twotower.jobs.run_context import RunContext

LOG = logging.getLogger("twotower")
WINDOWS = "windows"
NO_MEAN = "failed, so there is no mean"
"""Part of the warning of a window that failed."""


def train_older_windows(
    job: RunContext, newest: Result, run_job: Callable[[Mapping[str, Any]], int]
) -> dict[str, Any]:
    """Train the older windows, the latest first; return the parts `windows` and `windows_summary`.

    Finished windows are skipped. A window that fails is recorded, and the summary is missing until the
    window is resumed with the run.
    `newest` is the result of the newest window so far; `run_job` is `train_run.run_job`.
    """
    *older, last = job.config.split.windows() or (0,)
    if not last or isinstance(job.config, WarmStartRunConfig):
        return {}
    run, entries = job.run, [window_entry(last, ".", newest)]
    for window in reversed(older):
        folder = run.folder / WINDOWS / str(window)
        result = read_result_or_failure(folder)
        if result is None or not result.finished:
            LOG.info("window %d of %d", window, last)
            result = _run(job, _payload(job, folder, window), run_job)
        entries.insert(0, window_entry(window, f"{WINDOWS}/{window}", result))
        if not result.finished:
            remedy = f"twotower train resume={shlex.quote(str(run.folder))} trains it again"
            LOG.warning("window %d of %d %s: %s; %s", window, last, NO_MEAN, result.error, remedy)
    kind = job.config.trainer.monitor.rpartition("/")[2]
    return {"windows": entries, "windows_summary": summarize_windows(entries, kind)}


def _run(job: RunContext, payload: Mapping[str, Any], run_job: Callable[[Mapping[str, Any]], int]) -> Result:
    """Run or resume the job of a window; returns its result, a failed one if it raised an error.

    It logs to the console of the run, but not to its files, and does not repeat its warnings.
    """
    folder, warnings = Path(payload["folder"]), job.run.warnings

    def is_new(record: logging.LogRecord) -> bool:
        return record.getMessage() not in warnings

    error = "it wrote no result"
    handlers, LOG.handlers = LOG.handlers, [job.console]
    LOG.addFilter(is_new)
    try:
        run_job(payload)
    except Stopped as stopped:
        remedy = RESUME_HINT.format(shlex.quote(str(job.run.folder)))
        raise Stopped(stopped.status - BY_SIGNAL, remedy) from None
    except Exception as failure:
        error = str(failure)
    finally:
        LOG.removeFilter(is_new)
        LOG.handlers = handlers
    for session in folder.glob(f"*{SESSION}"):  # HPARAMS would show the window as another run
        session.unlink()
    return read_result_or_failure(folder) or Result(status="failed", error=error)


def _payload(job: RunContext, folder: Path, window: int) -> dict[str, Any]:
    """Return the job of an older window, whose towers are not served: an exact index.

    A benchmark fixes the newest window and its catalogue, so older windows are trained without it.
    """
    settings = job.run.settings
    changes = {
        "split": settings["split"] | {"window": window},
        "trainer": settings["trainer"] | {"monitor": job.config.trainer.monitor},
        "index": FlatIP.Config().spec(),
        "benchmark": None,
        "tracker": None,
        "console": "silent",
    }
    overrides = [*job.run.overrides, f"split.window={window}"]
    return {"folder": str(folder), "settings": settings | changes, "overrides": overrides, "trial": None}
