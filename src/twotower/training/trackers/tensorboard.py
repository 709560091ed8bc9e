"""TensorBoard alone."""

from pytorch_lightning.loggers import Logger

from twotower.training.trackers.tracker import Tracker


class TensorBoard(Tracker):
    """Nothing beside TensorBoard, whose files are in the run's folder whatever is chosen."""

    class Config(Tracker.Config):
        """Nothing to set."""

    def open(self) -> Logger | None:
        """Return none: the run has it."""
        return None

    def close(self, logger: Logger, status: str) -> None:
        """Do nothing."""
