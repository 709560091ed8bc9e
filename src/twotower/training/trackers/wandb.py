"""Weights & Biases."""

import hashlib
from typing import ClassVar

from pytorch_lightning.loggers import Logger, WandbLogger

from twotower.training.trackers.tracker import Tracker


class Wandb(Tracker):
    """A run of Weights & Biases, written to `wandb/` in the run's folder; offline, unless it is said.

    `wandb sync <folder>/wandb/offline-run-*` sends it later. Its config are the flat settings; how it ended
    is `status` of its summary, and its exit code.
    """

    class Config(Tracker.Config):
        """Which project."""

        package: ClassVar[str | None] = "wandb"
        project: str | None = None
        """None for the name of the folder that the run is in."""
        offline: bool = True
        """Write files only; no account is needed."""

    config: Config

    def open(self) -> Logger:
        """Return Lightning's logger."""
        logger = WandbLogger(
            name=self.folder.name,
            save_dir=self.folder,
            project=self.config.project or self.folder.parent.name,
            offline=self.config.offline,
            id=hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            settings={"silent": True, "console": "off"},
        )
        logger.experiment  # noqa: B018  makes the run
        return logger

    def close(self, logger: Logger, status: str) -> None:
        """Tell it, and end the run."""
        assert isinstance(logger, WandbLogger)
        logger.experiment.summary["status"] = status
        logger.experiment.finish(exit_code=0 if status in ("ok", "index_rejected", "pruned") else 1)
