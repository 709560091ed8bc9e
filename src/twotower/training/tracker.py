"""Experiment trackers: a logger of Lightning receives the metrics of a run in addition to TensorBoard."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.problems import nearest

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

LOG = logging.getLogger("twotower")
SUCCESSES = ("ok", "index_rejected", "pruned")


class Tracker(Component):
    """One run in an experiment tracker, for all phases of a training; a context manager.

    A failure to open the run is an error. A later failure (network, disk) is logged once, and the training
    continues without the tracker. A subclass that overrides `open` uses another logger. Its settings are
    validated without importing Lightning, which takes as long as importing torch.

    Attributes:
        status: final status of the run, as in `result.json`, or "interrupted"; "failed" unless it is set.
    """

    class Config(Component.Config):
        logger: str | None = None
        """Class in `pytorch_lightning.loggers`; null: TensorBoard only, which every run writes."""
        arguments: dict[str, Any] = Field(default_factory=dict)
        """Its arguments; {folder} stands for the run's folder, {run} for its name, {experiment} for the name
        of its parent."""

        def build(self, folder: Path) -> "Tracker":
            """Build the tracker of the run in a folder."""
            return self.make(Tracker, folder)

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """Refuse names that are no logger."""
            if self.logger is None:
                return
            from pytorch_lightning import loggers

            if self.logger not in (valid := {*loggers.__all__} - {"Logger"}):
                yield "logger", f"there is no {self.logger!r}; {nearest(self.logger, valid)}"

    config: Config

    def __init__(self, config: Config, folder: Path) -> None:
        super().__init__(config)
        self.folder = folder
        self.status = "failed"
        self._name = config.logger or type(self).__name__
        self._logger: Logger | None = None
        self._has_failed = False

    def open(self) -> "Logger | None":
        """Return the logger of a new run of the tracker; None: nothing is tracked."""
        if self.config.logger is None:
            return None
        from pytorch_lightning import loggers

        names = {"folder": str(self.folder), "run": self.folder.name, "experiment": self.folder.parent.name}
        values = {
            key: value.format(**names) if isinstance(value, str) else value
            for key, value in self.config.arguments.items()
        }
        logger: Logger = getattr(loggers, self.config.logger)(**values)
        return logger

    def start(self, settings: Mapping[str, Any]) -> None:
        """Open the run and log its settings.

        Args:
            settings: flat, by dotted key.

        Raises:
            InputError: the run cannot be opened.
        """
        try:
            self._logger = self.open()
            if self._logger is not None:
                self._logger.log_hyperparams(dict(settings))
                self._logger.save()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"tracker: {self._name} cannot open a run: {reason:.300}") from error

    @property
    def is_open(self) -> bool:
        """Whether a run is open in the tracker."""
        return self._logger is not None

    def log(self, figures: Mapping[str, float], step: int | None = 0) -> None:
        """Log metrics by name."""
        if figures:
            self._attempt(lambda logger: logger.log_metrics(dict(figures), step))

    def save(self) -> None:
        """Write what the logger holds back."""
        self._attempt(lambda logger: logger.save())

    def _attempt(self, action: "Callable[[Logger], None]") -> None:
        """Call a function with the logger, unless one has failed before; the first failure is logged."""
        if self._logger is None or self._has_failed:
            return
        try:
            action(self._logger)
        except Exception as error:
            self._has_failed = True
            LOG.warning("tracker %s failed and receives no more metrics: %s", self._name, error)

    def __enter__(self) -> Self:
        """Return the tracker, not started; see `start`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.status = "failed" if issubclass(kind, Exception) else "interrupted"
        self.save()
        self._has_failed = False  # the status is set even if metrics were lost
        self._attempt(self._close)

    def _close(self, logger: "Logger") -> None:
        """Log the final status and end the run."""
        from pytorch_lightning.loggers import WandbLogger

        logger.log_hyperparams({"status": self.status})
        logger.save()
        is_success = self.status in SUCCESSES
        logger.finalize("success" if is_success else "failed")
        if isinstance(logger, WandbLogger):  # which has no status; its next run would continue an open one
            logger.experiment.finish(exit_code=0 if is_success else 1)
