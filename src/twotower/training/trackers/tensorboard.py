"""TensorBoard only."""

from pytorch_lightning.loggers import Logger

from twotower.training.trackers.tracker import Tracker


class TensorBoard(Tracker):
    """No tracker besides TensorBoard, whose files every run writes."""

    def open(self) -> Logger | None:
        """Return None."""
        return None

    def close(self, logger: Logger, status: str) -> None:
        """Do nothing."""
