"""The learning curves of a run in TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger

MONITOR = "1 monitor"
GROUPS = ("train", "valid", "refit-train", "health")
"""Groups of curves in their order in TIME SERIES, which opens the first two: `MONITOR` and `train`."""


def curve_tags(key: str, monitor: str) -> list[str]:
    """Return the tags of a curve; the monitored metric has one more, in a group that sorts first.

    TIME SERIES sorts digits before anything else. HPARAMS sorts by character and shows the first five
    scalars of a run: a final figure whose tag begins with a space comes before the curves there, and after
    them in TIME SERIES. So one run serves both tabs.

    Args:
        key: `valid/recall_at_20`.
        monitor: key of the metric that chooses the epoch.
    """
    group = key.partition("/")[0]
    number = 2 + (GROUPS.index(group) if group in GROUPS else len(GROUPS))
    return [*([f"{MONITOR}/{key}"] if key == monitor else []), f"{number} {key}"]


class Scalars(TensorBoardLogger):
    """Lightning's logger, straight into the run's folder, without its empty hparams.yaml and `epoch` curve.

    Args:
        folder: of the run.
        phase: goes before each key, as in `refit-train/loss`; empty for the first phase.
        monitor: key of the metric that chooses the epoch.
    """

    def __init__(self, folder: Path, phase: str, monitor: str) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self._before = f"{phase}-" if phase else ""
        self._monitor = monitor

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars."""
        tagged = {
            tag: value
            for key, value in metrics.items()
            if key != "epoch"
            for tag in curve_tags(f"{self._before}{key}", self._monitor)
        }
        super().log_metrics(tagged, step)

    def save(self) -> None:
        """Write what is still in memory."""
        self.experiment.flush()
