"""Weights & Biases."""

import hashlib
from typing import ClassVar

from pytorch_lightning.loggers import Logger, WandbLogger

from twotower.training.trackers.tracker import Tracker


class Wandb(Tracker):
    """A run in Weights & Biases, written to `wandb/` in the folder of the run; offline by default.

    `wandb sync <folder>/wandb/offline-run-*` uploads it. The settings are its config; `status` in its summary
    and the exit code are the final status.
    """

    class Config(Tracker.Config):
        package: ClassVar[str | None] = "wandb"
        project: str | None = None
        """Name of the project; null: the name of the parent folder of the run."""
        offline: bool = True
        """Write files only, without an account."""

    config: Config

    def open(self) -> Logger:
        """Return Lightning's W&B logger of a new or resumed run."""
        logger = WandbLogger(
            name=self.folder.name,
            save_dir=self.folder,
            project=self.config.project or self.folder.parent.name,
            offline=self.config.offline,
            id=hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            settings={"silent": True, "console": "off"},
        )
        logger.experiment  # noqa: B018  creates the run
        return logger

    def close(self, logger: Logger, status: str) -> None:
        """Set the status and finish the run."""
        assert isinstance(logger, WandbLogger)
        logger.experiment.summary["status"] = status
        logger.experiment.finish(exit_code=0 if status in ("ok", "index_rejected", "pruned") else 1)
