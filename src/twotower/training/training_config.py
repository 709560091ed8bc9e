"""The settings of a training: the towers', and how they are trained."""

from typing import Any

from twotower.config.component import Config
from twotower.config.spec import Seed
from twotower.losses.loss import Loss
from twotower.negatives.negatives import Negatives
from twotower.towers.two_tower_config import TwoTowerConfig
from twotower.training.objectives.objective import Objective
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.trainer import TrainerChoice


class FeaturesConfig(Config):
    """The features of both sides, by name."""

    user: dict[str, Any]
    item: dict[str, Any]


class TrainingConfig(TwoTowerConfig):
    """All that shapes trained towers, but for the data."""

    seed: Seed
    """Of everything random: first weights, order, negatives, dropout."""
    features: FeaturesConfig
    objective: Objective.Config
    negatives: Negatives.Config
    loss: Loss.Config
    optimizer: OptimizerChoice.Config
    trainer: TrainerChoice.Config
