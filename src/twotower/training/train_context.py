"""What all phases of a training share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twotower.evaluation.indexing import Indexed
from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.curves import EpochCallback
from twotower.training.callbacks.epoch_lines import ProgressCallback
from twotower.training.trackers.tracker import Tracker
from twotower.training.trainer import TrainerChoice


@dataclass(frozen=True)
class TrainContext:
    """Settings, folder and callbacks of a training.

    Attributes:
        trainer: settings of the Lightning Trainer, early stopping and checkpoints.
        folder: of the run.
        rehearse_index: builds and searches an index on random vectors; called before training.
        index_catalogue: builds, tunes and checks the index; called with the final weights.
        epoch_callback: receives the monitored metric after each epoch and may stop the training.
        progress_callback: displays the progress of an epoch.
        tracker: receives the metrics that TensorBoard receives.
    """

    trainer: TrainerChoice.Config
    folder: Path
    rehearse_index: Callable[[], object]
    index_catalogue: Callable[[TwoTower], Indexed]
    epoch_callback: EpochCallback | None = None
    progress_callback: ProgressCallback | None = None
    tracker: Tracker | None = None
