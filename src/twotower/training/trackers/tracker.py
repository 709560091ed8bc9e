"""Where the settings and figures of a run go beside TensorBoard, which has them in any case."""

import importlib.util
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pytorch_lightning.loggers import Logger

from twotower.config.component import Component
from twotower.config.errors import InputError

LOG = logging.getLogger("twotower")
JOIN = "-"
"""Between the name of a phase and that of a figure, as Lightning's loggers have it: `refit-train/loss`."""


class Tracker(Component, ABC):
    """One run of an experiment tracker, for all phases of a training: a context from before data is read.

    Its logger is one of Lightning's. What keeps that from being opened is the user's to mend; later a tracker
    that fails (a network, a disk) is warned of once, and the training goes on without it.

    Attributes:
        folder: of the run; it is called as this one.
        status: the run's, told at the end; "failed" unless it is set before.
    """

    class Config(Component.Config):
        """Settings of every tracker."""

        package: ClassVar[str | None] = None
        """That it needs beside ours, and the extra that brings it."""

        def build(self, folder: Path) -> "Tracker":
            """Build the tracker of a run."""
            return self.make(Tracker, folder)

        def problems(self) -> Iterable[tuple[str, str]]:
            """Tell whether its package is there."""
            if self.package is not None and importlib.util.find_spec(self.package) is None:
                yield "_target_", f"needs {self.package}: pip install 'twotower[{self.package}]'"

    config: Config

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.status = "failed"
        self.logger: Logger | None = None
        self._has_failed = False

    @abstractmethod
    def open(self) -> Logger | None:
        """Return Lightning's logger of the run, new or gone on with; None where there is nothing to do."""

    @abstractmethod
    def close(self, logger: Logger, status: str) -> None:
        """Tell how the run ended: as in `result.json`, or "interrupted"."""

    def start(self, settings: Mapping[str, Any]) -> None:
        """Open the run and tell its flat settings.

        Raises:
            InputError: the tracker does not take it.
        """
        try:
            self.logger = self.open()
            if self.logger is not None:
                self.logger.log_hyperparams(dict(settings))
                self.logger.save()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"tracker: {type(self).__name__} cannot begin a run: {reason:.300}") from error

    def loggers(self, phase: str) -> list[Logger]:
        """Return what the trainer of a phase logs to, as Lightning has it; `phase` goes before each name."""
        return [] if self.logger is None else [OfPhase(self, self.logger, phase)]

    def log(self, figures: Mapping[str, float], step: int | None = 0) -> None:
        """Tell figures by name; a tracker that fails is warned of once."""
        logger = self.logger
        if logger is not None and figures:
            self.attempt(lambda: logger.log_metrics(dict(figures), step))

    def attempt(self, do: Callable[[], None]) -> None:
        """Do something with the tracker, unless that has failed before."""
        if self._has_failed:
            return
        try:
            do()
        except Exception as error:
            self._has_failed = True
            LOG.warning("tracker %s takes no more figures: %s", type(self).__name__, error)

    def __enter__(self) -> Self:
        """Begin; see `start`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.status = "failed" if issubclass(kind, Exception) else "interrupted"
        logger = self.logger
        if logger is not None:
            self.attempt(logger.save)
            self._has_failed = False  # the end is told even where a figure was not taken
            self.attempt(lambda: self.close(logger, self.status))


class OfPhase(Logger):
    """What the trainer of one phase logs to; the run stays open behind it. `epoch` is no curve."""

    def __init__(self, tracker: Tracker, logger: Logger, phase: str) -> None:
        super().__init__()
        self._tracker = tracker
        self._logger = logger
        self._before = f"{phase}{JOIN}" if phase else ""

    @property
    def name(self) -> str | None:
        """Of the experiment."""
        return self._logger.name

    @property
    def version(self) -> int | str | None:
        """Of the run."""
        return self._logger.version

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log all but `epoch`."""
        figures = {f"{self._before}{key}": value for key, value in metrics.items() if key != "epoch"}
        self._tracker.log(figures, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `Tracker.start` has told all settings."""

    def save(self) -> None:
        """Write what is still in memory."""
        self._tracker.attempt(self._logger.save)
