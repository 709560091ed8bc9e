"""A run's folder: opened once, never overwritten, every file written whole."""

import contextlib
import datetime
import logging
import shlex
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.config.errors import InputError
from twotower.config.exits import Stopped, stoppable
from twotower.config.trust import check_targets
from twotower.files.atomic import clear_temporaries, write_atomically, write_text_atomically
from twotower.files.lock import held
from twotower.files.plain_values import read_yaml, yaml_text
from twotower.runs.fingerprint import NOT_SHAPING, key_of
from twotower.runs.folder_name import short_name
from twotower.runs.result import Result, read_result_or_failure, write_result
from twotower.runs.run_files import CONFIG, OVERRIDES, RESULT, TRAIN_LOG, refuse_no_run
from twotower.runs.sections import failure

LOG = logging.getLogger("twotower")
REMEDY = "mend it, or delete the run"
ORPHAN_SECONDS = 10.0
"""How long a job whose parent was killed may take to notice it and let go of its folder."""


def run_folder(parent: Path, overrides: Sequence[str] = ()) -> Path:
    """Return a new run's folder: what was typed but where runs are kept, and the time, to the microsecond."""
    time = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    name = short_name([text for text in overrides if key_of(text) not in NOT_SHAPING])
    return parent / (f"{name}_{time}" if name else time)


GOES_ON = "twotower train resume={} goes on"
"""What to say where SIGTERM or Ctrl-C stops a training, with its folder as a shell reads it."""


class Run:
    """One folder of `outputs/`; `known` is the result so far, which says that the run failed."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.overrides = list(overrides)
        self.partial_result = Result(status="failed")
        self.started = time.perf_counter()
        self.keep_after_input_error = True
        self.warnings: list[str] = []

    @classmethod
    def create(
        cls,
        folder: Path,
        settings: Mapping[str, Any],
        overrides: Sequence[str] = (),
        keep_after_input_error: bool = True,
    ) -> "Run":
        """Open a new run and keep its resolved configuration.

        Where mistakes of the user's in what it is given, told before there is a data set, are not kept, they
        leave no folder. Raises InputError: there is a run in it.
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
        """Open a run that is there.

        Its settings may name classes of these packages beside ours; None where they are only looked at, and
        nothing is built from them. Raises InputError where there is no run, but a bundle, say, which has a
        config.yaml too, or its settings are damaged or name a class of a package that is not trusted.
        """
        refuse_no_run(folder)
        path = folder / CONFIG
        settings = read_yaml(path, REMEDY)
        if not isinstance(settings, dict):
            raise InputError(f"{path}: expected a mapping of settings; {REMEDY}")
        if trusted_packages is not None:
            check_targets(settings, path, trusted_packages)
        overrides = read_yaml(folder / OVERRIDES, REMEDY) if (folder / OVERRIDES).is_file() else []
        return cls(folder, settings, overrides if isinstance(overrides, list) else [])

    def config_text(self) -> str:
        """Read the resolved configuration as text."""
        return (self.folder / CONFIG).read_text(encoding="utf-8")

    def refuse_if_ended(self) -> None:
        """Keep what a run that has ended holds. Raises InputError: it has."""
        result = read_result_or_failure(self.folder)
        if result is not None and result.status != "failed":
            raise InputError(
                f"{self.folder}: this run has ended ({result.status}); there is nothing to resume"
            )

    @contextlib.contextmanager
    def recorded(self, screen: logging.Handler, remedy: str = GOES_ON) -> Iterator[None]:
        """Own the folder, log to `train.log` and our own lines to the screen too.

        If the body raises, a `result.json` that says so is left and the error goes on; see `create` for
        where nothing is. `remedy` is what to say where SIGTERM or Ctrl-C stops it, with the folder in it.
        Raises InputError where another process is at work on this run, or has ended it meanwhile.
        """
        try:
            with self._recorded(screen, remedy):
                yield
        except InputError:
            if not self.keep_after_input_error and self.partial_result.data.fingerprint is None:
                shutil.rmtree(self.folder, ignore_errors=True)
                with contextlib.suppress(OSError):  # other runs are in it
                    self.folder.parent.rmdir()
            raise

    @contextlib.contextmanager
    def _recorded(self, screen: logging.Handler, remedy: str) -> Iterator[None]:
        words = remedy.format(shlex.quote(str(self.folder)))
        with held(self.folder, "run", ORPHAN_SECONDS), stoppable(lambda: self._told(words)):
            self.refuse_if_ended()
            clear_temporaries(self.folder)
            self.partial_result = self.partial_result.update(seed=self.settings.get("seed"))
            with _logging_to(self.folder / TRAIN_LOG, screen, self.warnings):
                (self.folder / RESULT).unlink(missing_ok=True)  # of a failure that is now gone on from
                try:
                    yield
                except Stopped as stopped:
                    LOG.info("%s", stopped, extra={"for_file": True})
                    raise
                except Exception as error:
                    LOG.exception("the run failed", extra={"for_file": True})
                    write_result(
                        self.folder, failure(f"{type(error).__name__}: {error}", self.partial_result)
                    )
                    raise

    def _told(self, remedy: str) -> str:
        return f"{self.folder} had ended" if (self.folder / RESULT).is_file() else remedy

    def copy_table(self, source: Path, name: str) -> None:
        """Copy a table of another run, whole or not at all."""
        write_atomically(self.folder / name, lambda path: _copy(source / name, path))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as Parquet, whole or not at all, with checksums of its pages."""
        write_atomically(
            self.folder / name, lambda path: table.to_parquet(path, index=False, write_page_checksum=True)
        )

    def seconds(self) -> float:
        """Return the seconds since this process opened the run."""
        return time.perf_counter() - self.started


class _WarningCollector(logging.Handler):
    def __init__(self, warnings: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.warnings = warnings

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is None:
            self.warnings.append(record.getMessage().removeprefix("warning: "))


@contextlib.contextmanager
def _logging_to(path: Path, screen: logging.Handler, warnings: list[str]) -> Iterator[None]:
    """Log to a file and to the screen, and append the warnings to a list."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    lightning = logging.getLogger("pytorch_lightning")
    collector = _WarningCollector(warnings)
    handlers: list[tuple[logging.Logger, logging.Handler]] = [
        *((LOG, handler) for handler in (file, screen, collector)),
        (lightning, file),
    ]
    before = LOG.level, lightning.propagate, list(lightning.handlers)
    LOG.setLevel(logging.INFO)
    lightning.propagate, lightning.handlers = False, []
    for logger, handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, handler in handlers:
            logger.removeHandler(handler)
        LOG.level, lightning.propagate, lightning.handlers = before
        file.close()
        screen.close()


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
