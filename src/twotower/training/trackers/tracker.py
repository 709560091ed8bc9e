"""The base class of experiment trackers."""

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


class Tracker(Component, ABC):
    """One run in an experiment tracker, for all phases of a training; a context manager.

    It uses a logger of Lightning. A failure to open the run is an error. A later failure (network, disk) is
    logged once, and the training continues without the tracker.

    Attributes:
        folder: of the run; its name is the name of the tracked run.
        status: final status of the run; "failed" unless it is set.
    """

    class Config(Component.Config):
        package: ClassVar[str | None] = None
        """Required package, which the extra of the same name installs."""

        def build(self, folder: Path) -> "Tracker":
            """Build the tracker of a run."""
            return self.make(Tracker, folder)

        def problems(self) -> Iterable[tuple[str, str]]:
            """Refuse a missing package."""
            if self.package is not None and importlib.util.find_spec(self.package) is None:
                yield "_target_", f"needs {self.package}: pip install 'twotower[{self.package}]'"

    config: Config

    def __init__(self, config: Config, folder: Path) -> None:
        super().__init__(config)
        self.folder = folder
        self.status = "failed"
        self.logger: Logger | None = None
        self._has_failed = False

    @abstractmethod
    def open(self) -> Logger | None:
        """Return the logger of a new or resumed run; None: nothing is tracked."""

    @abstractmethod
    def close(self, logger: Logger, status: str) -> None:
        """Set the final status: that of `result.json`, or "interrupted"."""

    def start(self, settings: Mapping[str, Any]) -> None:
        """Open the run and log its settings.

        Args:
            settings: flat, by dotted key.

        Raises:
            InputError: the run cannot be opened.
        """
        try:
            self.logger = self.open()
            if self.logger is not None:
                self.logger.log_hyperparams(dict(settings))
                self.logger.save()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"tracker: {type(self).__name__} cannot open a run: {reason:.300}") from error

    def loggers(self, prefix: str) -> list[Logger]:
        """Return the loggers of a phase for Lightning; `prefix` is that of each name."""
        return [] if self.logger is None else [PhaseLogger(self, self.logger, prefix)]

    def log(self, figures: Mapping[str, float], step: int | None = 0) -> None:
        """Log metrics by name."""
        logger = self.logger
        if logger is not None and figures:
            self.attempt(lambda: logger.log_metrics(dict(figures), step))

    def attempt(self, action: Callable[[], None]) -> None:
        """Call a function of the logger, unless one has failed before; the first failure is logged."""
        if self._has_failed:
            return
        try:
            action()
        except Exception as error:
            self._has_failed = True
            LOG.warning("tracker %s failed and receives no more metrics: %s", type(self).__name__, error)

    def __enter__(self) -> Self:
        """Return the tracker, not started; see `start`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.status = "failed" if issubclass(kind, Exception) else "interrupted"
        logger = self.logger
        if logger is not None:
            self.attempt(logger.save)
            self._has_failed = False  # the status is set even if metrics were lost
            self.attempt(lambda: self.close(logger, self.status))


class PhaseLogger(Logger):
    """Passes the metrics of one phase, except `epoch`, to a run that stays open."""

    def __init__(self, tracker: Tracker, logger: Logger, prefix: str) -> None:
        super().__init__()
        self._tracker, self._logger, self._prefix = tracker, logger, prefix

    @property
    def name(self) -> str | None:
        """Name of the experiment."""
        return self._logger.name

    @property
    def version(self) -> int | str | None:
        """Version of the run."""
        return self._logger.version

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log all metrics except `epoch`."""
        figures = {f"{self._prefix}{key}": value for key, value in metrics.items() if key != "epoch"}
        self._tracker.log(figures, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `Tracker.start` logged the settings."""

    def save(self) -> None:
        """Save the logger."""
        self._tracker.attempt(self._logger.save)
