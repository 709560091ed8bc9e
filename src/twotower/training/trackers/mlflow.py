"""MLflow."""

from typing import ClassVar

from pytorch_lightning.loggers import Logger, MLFlowLogger

from twotower.files.atomic import write_text_atomically
from twotower.training.trackers.tracker import Tracker

RUN_ID = "mlflow_run_id"
"""File in the folder of a run, with the id that a resumed run continues."""
STATUS = {"ok": "FINISHED", "index_rejected": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED"}
"""MLflow's status by ours, which is the tag `status`."""


class MLflow(Tracker):
    """A run in MLflow, with the settings as parameters and the final status as the tag `status`."""

    class Config(Tracker.Config):
        package: ClassVar[str | None] = "mlflow"
        uri: str = "sqlite:///mlflow.db"
        """Tracking URI: `sqlite:///` and a path, or `http://` and a host."""
        experiment: str | None = None
        """Name of the experiment; null: the name of the parent folder of the run."""

    config: Config

    def open(self) -> Logger:
        """Return Lightning's MLflow logger of a new or resumed run."""
        path = self.folder / RUN_ID
        logger = MLFlowLogger(
            experiment_name=self.config.experiment or self.folder.parent.name,
            run_name=self.folder.name,
            tracking_uri=self.config.uri,
            run_id=path.read_text(encoding="utf-8") if path.is_file() else None,
        )
        run_id = str(logger.run_id)  # creates the run
        write_text_atomically(path, run_id)
        logger.experiment.update_run(run_id, status="RUNNING")
        return logger

    def close(self, logger: Logger, status: str) -> None:
        """Set the status of the run."""
        assert isinstance(logger, MLFlowLogger)
        run_id = str(logger.run_id)
        logger.experiment.set_tag(run_id, "status", status)
        logger.experiment.set_terminated(run_id, STATUS.get(status, "FAILED"))
