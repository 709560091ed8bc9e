"""Tables of figures, in files."""

from pytorch_lightning.loggers import CSVLogger, Logger

from twotower.training.trackers.tracker import Tracker

FOLDER = "csv"


class Csv(Tracker):
    """`csv/version_0/` in the run's folder: `metrics.csv`, one row a step, and `hparams.yaml`.

    A run that is gone on with has a further version.
    """

    class Config(Tracker.Config):
        """Nothing to set."""

    def open(self) -> Logger:
        """Return Lightning's logger."""
        return CSVLogger(self.folder, name=FOLDER)

    def close(self, logger: Logger, status: str) -> None:
        """Write `status` beside the settings."""
        logger.log_hyperparams({"status": status})
        logger.save()
