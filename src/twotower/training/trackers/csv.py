"""Metrics in CSV files."""

from pytorch_lightning.loggers import CSVLogger, Logger

from twotower.training.trackers.tracker import Tracker


class Csv(Tracker):
    """Writes `metrics.csv`, one row per step, and `hparams.yaml` to `csv/version_0/` in the run's folder.

    A resumed run writes another version.
    """

    def open(self) -> Logger:
        """Return Lightning's CSV logger."""
        return CSVLogger(self.folder, name="csv")

    def close(self, logger: Logger, status: str) -> None:
        """Add `status` to the settings."""
        logger.log_hyperparams({"status": status})
        logger.save()
