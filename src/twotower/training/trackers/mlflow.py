"""MLflow."""

from pathlib import Path
from typing import Any, ClassVar

from pytorch_lightning.loggers import Logger, MLFlowLogger

from twotower.files.atomic import write_text_atomically
from twotower.training.trackers.tracker import Tracker

RUN_ID = "mlflow_run_id"
"""File of a run's folder: a run that is gone on with is one run of MLflow, too."""
STATUS = {"ok": "FINISHED", "index_rejected": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED"}
"""What MLflow calls it; our own word is the tag `status`."""


class MLflow(Tracker):
    """A run of an MLflow store: its parameters are the flat settings, its tag `status` says how it ended."""

    class Config(Tracker.Config):
        """Which store."""

        package: ClassVar[str | None] = "mlflow"
        uri: str = "sqlite:///mlflow.db"
        """Of the store, as MLflow takes it: `sqlite:///` and a path, or `http://` and a host."""
        experiment: str | None = None
        """Of MLflow; None for the name of the folder that the run is in."""

    config: Config

    def open(self) -> Logger:
        """Return Lightning's logger."""
        logger = MLFlowLogger(
            experiment_name=self.config.experiment or self.folder.parent.name,
            run_name=self.folder.name,
            tracking_uri=self.config.uri,
            run_id=_known(self.folder),
        )
        run_id = str(logger.run_id)  # makes the run
        write_text_atomically(self.folder / RUN_ID, run_id)
        self._client(logger).update_run(run_id, status="RUNNING")
        return logger

    def close(self, logger: Logger, status: str) -> None:
        """Tell it MLflow's status, and ours."""
        client = self._client(logger)
        client.set_tag(logger.version, "status", status)
        client.set_terminated(logger.version, STATUS.get(status, "FAILED"))

    def _client(self, logger: Logger) -> Any:
        assert isinstance(logger, MLFlowLogger)
        return logger.experiment


def _known(folder: Path) -> str | None:
    path = folder / RUN_ID
    return path.read_text(encoding="utf-8") if path.is_file() else None
