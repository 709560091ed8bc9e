"""The older windows of a run with `split=rolling`: runs of their own in its folder."""

import contextlib
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.exits import BY_SIGNAL, Stopped
from twotower.index.flat_ip import FlatIP
from twotower.pipeline.run_config import WarmStartRunConfig
from twotower.pipeline.stages import RunContext
from twotower.reports.tensorboard_run import SESSION
from twotower.runs.result import Result, read_result_or_failure
from twotower.runs.run import RESUME_HINT
from twotower.runs.windows import summarize_windows, window_entry

LOG = logging.getLogger("twotower")
WINDOWS = "windows"


def train_older_windows(
    job: RunContext, newest: Mapping[str, Any], run_job: Callable[[Mapping[str, Any]], int]
) -> dict[str, Any]:
    """Train the older windows, the latest first; return the parts `windows` and `windows_summary`.

    A window that has finished is not trained again. One that fails is recorded, and there is no summary.

    Args:
        job: the run of the newest window.
        newest: its part of the result so far.
        run_job: runs or resumes a job, see `train_run.run_job`.
    """
    *older, last = job.config.split.windows() or (0,)
    if not last or isinstance(job.config, WarmStartRunConfig):
        return {}
    run = job.run
    timing = {"total_seconds": round(run.seconds(), 3)}
    so_far = run.partial_result.update(**{**newest, "status": "ok", "timing": timing})
    entries = [window_entry(last, ".", so_far)]
    for window in reversed(older):
        folder = run.folder / WINDOWS / str(window)
        result = read_result_or_failure(folder)
        if result is None or not result.finished:
            LOG.info("window %d of %d", window, last)
            overrides = [*run.overrides, f"split.window={window}"]
            result = _run(job, folder, _settings(job, window), overrides, run_job)
        entries.insert(0, window_entry(window, f"{WINDOWS}/{window}", result))
        if not result.finished:
            LOG.warning(
                "window %d of %d failed, so there is no mean over windows: %s", window, last, result.error
            )
    return {
        "windows": entries,
        "windows_summary": summarize_windows(entries, job.config.trainer.monitor.rpartition("/")[2]),
    }


def _run(
    job: RunContext,
    folder: Path,
    settings: Mapping[str, Any],
    overrides: Sequence[str],
    run_job: Callable[[Mapping[str, Any]], int],
) -> Result:
    """Run or resume the job of a window; returns its result, a failed one if it raised an error."""
    payload = {"folder": str(folder), "settings": settings, "overrides": overrides, "trial": None}
    try:
        with _own_log(job):
            run_job(payload)
    except Stopped as stopped:
        remedy = RESUME_HINT.format(shlex.quote(str(job.run.folder)))
        raise Stopped(stopped.status - BY_SIGNAL, remedy) from None
    except Exception as error:
        return read_result_or_failure(folder) or Result(status="failed", error=str(error))
    for session in folder.glob(f"*{SESSION}"):  # HPARAMS would show the window as another run
        session.unlink()
    result = read_result_or_failure(folder)
    assert result is not None
    return result


def _settings(job: RunContext, window: int) -> dict[str, Any]:
    """Return the settings of an older window, whose towers are not served: an exact index, no walkthrough."""
    settings = job.run.settings
    return settings | {
        "split": settings["split"] | {"window": window},
        "trainer": settings["trainer"] | {"monitor": job.config.trainer.monitor},
        "index": FlatIP.Config().spec(),
        "walkthrough": None,
        "tracker": None,
        "console": "silent",
    }


@contextlib.contextmanager
def _own_log(job: RunContext) -> Iterator[None]:
    """Keep the records of another run out of the files of this one, and drop warnings that repeat its own.

    The console of the other run shows its warnings, and that of this one the rest.
    """

    def is_new(record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or record.getMessage() not in job.run.warnings

    def is_no_warning(record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING

    handlers, LOG.handlers = LOG.handlers, [job.console]
    LOG.addFilter(is_new)
    job.console.addFilter(is_no_warning)
    try:
        yield
    finally:
        job.console.removeFilter(is_no_warning)
        LOG.removeFilter(is_new)
        LOG.handlers = handlers
