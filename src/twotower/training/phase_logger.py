"""The logger of Lightning by which a phase of a training logs to a tracker."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import Logger

from twotower.training.tracker import Tracker


class PhaseLogger(Logger):
    """Passes the metrics of one phase, except `epoch`, to a tracker whose run stays open."""

    name = version = None

    def __init__(self, tracker: Tracker, prefix: str) -> None:
        super().__init__()
        self._tracker, self._prefix = tracker, prefix

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log all metrics except `epoch`."""
        figures = {f"{self._prefix}{key}": value for key, value in metrics.items() if key != "epoch"}
        self._tracker.log(figures, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `Tracker.start` logged the settings."""

    def save(self) -> None:
        """Save the logger."""
        self._tracker.save()
