"""The learning curves of a run in TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger

MONITOR = "1 monitor"
GROUPS = ("train", "valid", "refit-train", "health")
"""Groups of curves in their order in TIME SERIES, which opens the first two: `MONITOR` and `train`."""


def curve_tags(key: str, monitor: str) -> list[str]:
    """Return the TensorBoard tags of a curve; the monitored metric has a second tag in the first group.

    TIME SERIES sorts digits first. HPARAMS sorts by character and shows the first five scalars: there final
    metrics, whose tags begin with a space, precede the curves.
    """
    group = key.partition("/")[0]
    number = 2 + (GROUPS.index(group) if group in GROUPS else len(GROUPS))
    return [*([f"{MONITOR}/{key}"] if key == monitor else []), f"{number} {key}"]


class Scalars(TensorBoardLogger):
    """Lightning's logger, writing to the folder of the run, without `hparams.yaml` and the `epoch` curve.

    Args:
        prefix: of each key, as in `refit-train/loss`; empty for the first phase.
    """

    def __init__(self, folder: Path, prefix: str, monitor: str) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self._prefix, self._monitor = prefix, monitor

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars."""
        tagged = {
            tag: value
            for key, value in metrics.items()
            if key != "epoch"
            for tag in curve_tags(f"{self._prefix}{key}", self._monitor)
        }
        super().log_metrics(tagged, step)

    def save(self) -> None:
        """Flush the event file."""
        self.experiment.flush()
