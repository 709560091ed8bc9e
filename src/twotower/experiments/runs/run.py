"""The folder of a run. It is created once and never overwritten, and its files are written atomically."""

import contextlib
import datetime
import logging
import shlex
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.config.errors import InputError, NothingNewError
from twotower.config.exits import Stopped, stoppable
from twotower.config.trust import check_targets
from twotower.experiments.runs.fingerprint import IRRELEVANT_KEYS, override_key
from twotower.experiments.runs.folder_name import folder_name
from twotower.experiments.runs.result import Result, read_result_or_failure, write_result
from twotower.experiments.runs.run_files import CONFIG, OVERRIDES, RESULT, TRAIN_LOG, require_run
from twotower.experiments.runs.trainings import CHECKPOINTS
from twotower.files.atomic import clear_temporaries, write_atomically, write_text_atomically
from twotower.files.lock import lock_folder
from twotower.files.plain_values import read_yaml, yaml_text

LOG = logging.getLogger("twotower")
REMEDY = "repair it, or delete the run"
ORPHAN_SECONDS = 10.0
"""Time for a job to notice that its parent was killed, and to release its folder."""


def run_folder(parent: Path, overrides: Sequence[str] = ()) -> Path:
    """Return the folder of a new run, named by its overrides and by the time to the microsecond."""
    time = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    name = folder_name([text for text in overrides if override_key(text) not in IRRELEVANT_KEYS])
    return parent / (f"{name}_{time}" if name else time)


RESUME_HINT = "twotower train resume={} continues it"
"""Message after SIGTERM or Ctrl-C, with the folder quoted for a shell."""


class Run:
    """One folder of `outputs/`; `partial_result` is the result so far, with the status `failed`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.overrides = list(overrides)
        self.partial_result = Result(status="failed")
        self.started = time.perf_counter()
        self.keep_after_input_error = True
        self.looked_at_test = False
        self.warning_records = BufferingHandler(sys.maxsize)
        self.warning_records.setLevel(logging.WARNING)

    @classmethod
    def create(
        cls,
        folder: Path,
        settings: Mapping[str, Any],
        overrides: Sequence[str] = (),
        keep_after_input_error: bool = True,
    ) -> "Run":
        """Create the folder of a new run and write its settings. Raises InputError if it holds a run.

        `keep_after_input_error`: whether the folder stays if an InputError is raised before the training.
        """
        if (folder / CONFIG).exists():
            raise InputError(f"{folder}: already holds a run, and a run is never overwritten")
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / OVERRIDES, yaml_text(list(overrides)))
        write_text_atomically(folder / CONFIG, yaml_text(dict(settings)))
        run = cls(folder, settings, overrides)
        run.keep_after_input_error = keep_after_input_error
        return run

    @classmethod
    def open(cls, folder: Path, trusted_packages: Collection[str] | None = ()) -> "Run":
        """Open an existing run.

        Raises InputError if the folder holds no run (a bundle, for instance), its settings are damaged, or
        they name a class outside `twotower` and `trusted_packages`. None trusts all: nothing is built.
        """
        require_run(folder)
        path = folder / CONFIG
        settings = read_yaml(path, REMEDY)
        if not isinstance(settings, dict):
            raise InputError(f"{path}: expected a mapping of settings; {REMEDY}")
        if trusted_packages is not None:
            check_targets(settings, path, trusted_packages)
        overrides = read_yaml(folder / OVERRIDES, REMEDY) if (folder / OVERRIDES).is_file() else []
        return cls(folder, settings, overrides if isinstance(overrides, list) else [])

    @property
    def warnings(self) -> list[str]:
        """Warnings of the run so far, in order."""
        records = self.warning_records.buffer
        return [record.getMessage() for record in records if record.exc_info is None]

    def refuse_if_ended(self) -> None:
        """Raise InputError if the run and its older windows have ended."""
        result = read_result_or_failure(self.folder)
        if result is not None and not result.has_failed:
            raise InputError(
                f"{self.folder}: this run has ended ({result.status}); there is nothing to resume"
            )

    def finished_result(self) -> Result | None:
        """Return the result of the run if it has finished, although an older window may have failed."""
        result = read_result_or_failure(self.folder)
        return result if result and result.finished else None

    @contextlib.contextmanager
    def record(self, screen: logging.Handler, remedy: str = RESUME_HINT) -> Iterator[None]:
        """Lock the folder, log to `train.log`, and log lines of `twotower` to the screen.

        If the body raises, a `result.json` with the status `failed` is written and the error propagates; that
        of a finished run, of which an older window failed, is kept.
        Raises InputError if another process uses this run, or the run has ended. `remedy` is the message
        after SIGTERM or Ctrl-C, with `{}` for the folder.
        """

        def stop_message() -> str:
            result = read_result_or_failure(self.folder)
            if result is not None and not result.has_failed:
                return f"{self.folder} has already ended"
            return remedy.format(shlex.quote(str(self.folder)))

        try:
            with lock_folder(self.folder, "run", ORPHAN_SECONDS), stoppable(stop_message):
                self.refuse_if_ended()
                is_finished = self.finished_result() is not None
                clear_temporaries(self.folder)
                self.partial_result = self.partial_result.update(seed=self.settings.get("seed"))
                with _logging_to(self.folder / TRAIN_LOG, screen, self.warning_records):
                    if not is_finished:
                        (self.folder / RESULT).unlink(missing_ok=True)  # of a failed attempt
                    try:
                        yield
                    except Stopped as stopped:
                        LOG.info("%s", stopped, extra={"for_file": True})
                        raise
                    except Exception as error:
                        LOG.exception("the run failed", extra={"for_file": True})
                        if not is_finished:
                            reason = f"{type(error).__name__}: {error}"
                            write_result(self.folder, self.partial_result.ended("failed", error=reason))
                        raise
        except InputError as error:
            is_begun = (self.folder / CHECKPOINTS).exists() and not isinstance(error, NothingNewError)
            if not self.keep_after_input_error and not is_begun:
                shutil.rmtree(self.folder, ignore_errors=True)
                with contextlib.suppress(OSError):  # it contains other runs
                    self.folder.parent.rmdir()
            raise

    def copy_table(self, source: Path, name: str) -> None:
        """Copy a table of another run atomically."""
        write_atomically(self.folder / name, lambda path: shutil.copyfile(source / name, path))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as Parquet, atomically and with page checksums."""
        write_atomically(
            self.folder / name, lambda path: table.to_parquet(path, index=False, write_page_checksum=True)
        )

    def seconds(self) -> float:
        """Return the seconds since this process opened the run."""
        return time.perf_counter() - self.started


@contextlib.contextmanager
def _logging_to(path: Path, screen: logging.Handler, warnings: logging.Handler) -> Iterator[None]:
    """Log to a file, to a collector of warnings, and to the screen, unless a run around this one does."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    lightning = logging.getLogger("pytorch_lightning")
    shown = [] if LOG.handlers else [screen]
    handlers = [*((LOG, handler) for handler in (file, *shown, warnings)), (lightning, file)]
    before = LOG.level, lightning.propagate, list(lightning.handlers)
    LOG.setLevel(logging.DEBUG)
    lightning.propagate, lightning.handlers = False, []
    for logger, handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, handler in handlers:
            logger.removeHandler(handler)
        LOG.setLevel(before[0])
        _, lightning.propagate, lightning.handlers = before
        file.close()
        screen.close()
