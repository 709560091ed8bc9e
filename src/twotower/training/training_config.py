"""The settings of a training: the towers', and how they are trained."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Self

import pandas as pd
from pydantic import Field

from twotower.config.component import Config
from twotower.config.spec import Seed
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.features.feature import Feature
from twotower.features.feature_table import files_digests
from twotower.losses.loss import Loss
from twotower.negatives.sampler import NegativeSampler
from twotower.towers.two_tower_config import TwoTowerConfig
from twotower.training.initialization.initialization import Initialization
from twotower.training.initialization.random import Random
from twotower.training.objectives.objective import Objective
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.trainer import TrainerChoice

OBJECTIVE = "objective."


class FeaturesConfig(Config):
    """The features of both sides, and of a request, by name."""

    user: dict[str, Feature.Config]
    item: dict[str, Feature.Config]
    context: dict[str, Feature.Config] = Field(default_factory=dict)
    """Of columns of the interactions (device, place, hour, ...), which a request gives anew: only the user
    tower sees them."""

    def with_files(self, dataset: RetrievalDataset) -> RetrievalDataset:
        """Return the data set with the digests of the files that these features read."""
        contexts = pd.DataFrame() if dataset.context_table is None else dataset.context_table
        tables = {
            "user": (self.user, dataset.user_table, "users"),
            "item": (self.item, dataset.item_table, "items"),
            "context": (self.context, contexts, "interactions"),
        }
        digests = {
            f"{side}.{name}": digest
            for side, (choices, table, source_path) in tables.items()
            for name, digest in files_digests(
                {name: choice.build(1) for name, choice in choices.items()},
                table,
                dataset.source_paths.get(source_path, source_path),
            ).items()
        }
        return replace(dataset, feature_files=digests)


class TrainingConfig(TwoTowerConfig):
    """All that shapes trained towers, but for the data."""

    seed: Seed
    """Of everything random: first weights, order, negatives, dropout."""
    features: FeaturesConfig
    objective: Objective.Config
    negatives: NegativeSampler.Config
    loss: Loss.Config
    initialization: Initialization.Config = Random.Config()
    optimizer: OptimizerChoice.Config
    trainer: TrainerChoice.Config

    def of_log(self, interactions: Interactions) -> tuple[Self, dict[str, float | None]]:
        """Return the settings with what a log decides of them, and that alone by key."""
        pairs = {
            key: (value, getattr(self.objective, key)) for key, value in self.objective.of_log(interactions)
        }
        decided = {f"{OBJECTIVE}{key}": value for key, (value, asked) in pairs.items() if value != asked}
        return self.decided(decided), decided

    def decided(self, chosen: Mapping[str, float | None]) -> Self:
        """Return the settings with what a log decided of them before, as `of_log` says it."""
        of_objective = {
            key.removeprefix(OBJECTIVE): each for key, each in chosen.items() if key.startswith(OBJECTIVE)
        }
        return self.model_copy(update={"objective": self.objective.model_copy(update=of_objective)})

    def block_names(self) -> dict[str, set[str]]:
        """Return `user_tower`, `item_tower` -> the names of its inputs."""
        history = self.history.block_dims(1).keys()
        of_users = {*self.features.user, *self.features.context, *history}
        return {"user_tower": of_users, "item_tower": set(self.features.item)}

    def sparse_keys(self) -> tuple[str, ...]:
        """Return the keys of the settings that make gradients sparse."""
        sides = {"user": self.features.user, "item": self.features.item, "context": self.features.context}
        found = [
            f"features.{side}.{name}"
            for side, features in sides.items()
            for name, feature in features.items()
            if feature.gives_sparse_gradients
        ]
        found += [key for key in ("history", "item_bias") if getattr(self, key).gives_sparse_gradients]
        return tuple(f"{key}.sparse" for key in found)

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
        blocks = self.history.block_dims(1).keys()
        for side, features in (("user", self.features.user), ("context", self.features.context)):
            for reserved in sorted(blocks & features.keys()):
                yield f"features.{side}.{reserved}", "this name is the history encoder's; choose another"
        for twice in sorted(self.features.user.keys() & self.features.context.keys()):
            yield f"features.context.{twice}", "a feature of users has this name; choose another"
