"""A run's folder: opened once, never overwritten, every file written whole."""

import contextlib
import datetime
import importlib.metadata
import json
import logging
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from twotower.bundle.layout import MANIFEST
from twotower.data.atomic import write_atomically, write_text_atomically
from twotower.errors import InputError

LOG = logging.getLogger("twotower")
DISTRIBUTIONS = ("twotower", "torch", "pytorch-lightning", "hydra-core", "faiss-cpu", "numpy", "pandas")
CONFIG, RESULT, TRAIN_LOG = "config.yaml", "result.json", "train.log"


def run_folder(parent: Path) -> Path:
    """Return the name of a new run's folder: the time, to the microsecond."""
    return parent / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")


class Run:
    """One folder of `outputs/`.

    Args:
        folder: where everything of the run goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.perf_counter()

    @classmethod
    def create(cls, folder: Path, settings: Mapping[str, Any]) -> "Run":
        """Open a new run and keep its resolved configuration.

        Raises:
            InputError: the folder already holds a run.
        """
        if (folder / CONFIG).exists():
            raise InputError(f"{folder}: already holds a run, and a run is never overwritten")
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
        write_text_atomically(folder / CONFIG, text)
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Open a run that is there.

        Raises:
            InputError: the folder holds no run, or it is a bundle, which has a config.yaml too.
        """
        if (folder / MANIFEST).is_file():
            raise InputError(f"{folder}: a bundle, not a run; name the folder that it is in, {folder.parent}")
        if not (folder / CONFIG).is_file():
            raise InputError(f"{folder}: no run is here (it has no {CONFIG}); name a folder of outputs/")
        return cls(folder)

    def settings(self) -> dict[str, Any]:
        """Read the resolved configuration."""
        try:
            settings = yaml.safe_load((self.folder / CONFIG).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InputError(f"{self.folder / CONFIG}: not readable as YAML ({error})") from error
        if not isinstance(settings, dict):
            raise InputError(f"{self.folder / CONFIG}: expected a mapping of settings")
        return settings

    def config_text(self) -> str:
        """Read the resolved configuration as text."""
        return (self.folder / CONFIG).read_text(encoding="utf-8")

    def result(self) -> dict[str, Any] | None:
        """Read `result.json`, or None where the run has not ended."""
        path = self.folder / RESULT
        if not path.is_file():
            return None
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: damaged ({error}); run again or delete the run") from error
        return dict(result)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write `result.json` whole or not at all."""
        text = json.dumps(dict(result), indent=2, sort_keys=False, allow_nan=False)
        write_text_atomically(self.folder / RESULT, text)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Log to `train.log` and our own lines to the console too.

        If the body raises, a `result.json` that says so is left and the error goes on.
        """
        with _logging_to(self.folder / TRAIN_LOG):
            try:
                yield
            except Exception as error:
                LOG.exception("the run failed", extra={"for_file": True})
                failed = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
                self.write_result(failed | machine())
                raise

    def copy_table(self, source: Path, name: str) -> None:
        """Copy a table of another run, whole or not at all."""
        write_atomically(self.folder / name, lambda path: _copy(source / name, path))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as Parquet, whole or not at all, with checksums of its pages."""
        write_atomically(
            self.folder / name,
            lambda path: table.to_parquet(path, index=False, write_page_checksum=True),
        )

    def seconds(self) -> float:
        """Return the seconds since this process opened the run."""
        return time.perf_counter() - self.started


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    file, screen = logging.FileHandler(path, encoding="utf-8"), logging.StreamHandler(sys.stdout)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    screen.addFilter(lambda entry: not getattr(entry, "for_file", False))
    lightning = logging.getLogger("pytorch_lightning")
    handlers: list[tuple[logging.Logger, logging.Handler]] = [(LOG, file), (LOG, screen), (lightning, file)]
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


def machine() -> dict[str, Any]:
    """Return versions and the peak memory of this process."""
    versions = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "versions": {"python": platform.python_version(), **versions},
        "peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024,
    }


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
