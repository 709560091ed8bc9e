"""The settings of a training: the towers', and how they are trained."""

from collections.abc import Iterator

from twotower.config.component import Config
from twotower.config.spec import Seed
from twotower.features.feature import Feature
from twotower.losses.loss import Loss
from twotower.negatives.negatives import Negatives
from twotower.towers.two_tower_config import TwoTowerConfig
from twotower.training.objectives.objective import Objective
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.trainer import TrainerChoice


class FeaturesConfig(Config):
    """The features of both sides, by name."""

    user: dict[str, Feature.Config]
    item: dict[str, Feature.Config]


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

    def block_names(self) -> dict[str, set[str]]:
        """Return `user_tower`, `item_tower` -> the names of its inputs."""
        history = self.history.block_dims(1).keys()
        return {"user_tower": {*self.features.user, *history}, "item_tower": set(self.features.item)}

    def input_problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) of what keeps the towers from being put together."""
        if self.tower_width < 1:
            yield "embedding_dim", "leaves the towers no column beside the item bias; raise it"
        if not self.block_names()["user_tower"]:
            text = (
                "the user tower has no input; name at least one feature, or choose a history other than none"
            )
            yield "features.user", text
        if not self.features.item:
            yield "features.item", "the item tower has no input; name at least one feature"
        for reserved in sorted(self.history.block_dims(1).keys() & self.features.user.keys()):
            yield f"features.user.{reserved}", "this name is the history encoder's; choose another"
