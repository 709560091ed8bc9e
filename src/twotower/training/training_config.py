"""The settings of a training."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Self

import pandas as pd
from pydantic import Field

from twotower.config.component import Config
from twotower.config.spec import Seed
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.model.features.feature import Feature
from twotower.model.features.feature_table import column_faults, files_digests
from twotower.model.features.id import Id
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.towers.two_tower import TwoTowerConfig
from twotower.training.initialization.initialization import Initialization
from twotower.training.initialization.random import Random
from twotower.training.objectives.objective import Objective
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.trainer import TrainerChoice


class FeaturesConfig(Config):
    """Features of users, items and requests, by name."""

    user: dict[str, Feature.Config]
    item: dict[str, Feature.Config]
    context: dict[str, Feature.Config] = Field(default_factory=dict)
    """Features of columns of the interactions (device, place, hour, ...), whose values each request states;
    inputs of the user tower."""

    def tables(
        self, dataset: RetrievalDataset
    ) -> Iterator[tuple[str, dict[str, Feature.Config], pd.DataFrame, str]]:
        """Yield each side (`user`, `item`, `context`) with its features, its table and the path of that."""
        contexts = pd.DataFrame() if dataset.context_table is None else dataset.context_table
        sides = (
            ("user", self.user, dataset.user_table, "users"),
            ("item", self.item, dataset.item_table, "items"),
            ("context", self.context, contexts, "interactions"),
        )
        for side, choices, table, source in sides:
            yield side, choices, table, dataset.source_paths.get(source, source)

    def with_files(self, dataset: RetrievalDataset) -> RetrievalDataset:
        """Return the data set with the digests of the files that these features read."""
        digests = {
            f"{side}.{name}": digest
            for side, choices, table, source_path in self.tables(dataset)
            for name, digest in files_digests(
                {name: choice.build(1) for name, choice in choices.items()}, table, source_path
            ).items()
        }
        return replace(dataset, feature_files=digests)

    def column_problems(self, table: str, frame: pd.DataFrame, source_path: str) -> list[str]:
        """Return what the columns of a table lack for the features that read it."""
        choices = {"users": self.user, "items": self.item, "context": self.context}[table]
        return column_faults({name: choice.build(1) for name, choice in choices.items()}, frame, source_path)


class TrainingConfig(TwoTowerConfig):
    """All settings that trained towers depend on, except the data."""

    seed: Seed
    """Seed of initial weights, order of examples, negatives and dropout."""
    features: FeaturesConfig
    objective: Objective.Config
    negatives: NegativeSampler.Config
    loss: Loss.Config
    initialization: Initialization.Config = Random.Config()
    optimizer: OptimizerChoice.Config
    trainer: TrainerChoice.Config

    def resolve(self, interactions: Interactions, horizon_days: int) -> tuple[Self, dict[str, float | None]]:
        """Return the settings with the values that the data determines, and these values by key.

        See `Objective.Config.resolve` and `ItemBias.Config.resolve`.
        """
        objective = self.objective.resolve(interactions, horizon_days)
        item_bias = self.item_bias.resolve(horizon_days)
        chosen = {
            f"{name}.{key}": value
            for name, resolved in (("objective", objective), ("item_bias", item_bias))
            for key, value in resolved
            if value != getattr(getattr(self, name), key)
        }
        return self.model_copy(update={"objective": objective, "item_bias": item_bias}), chosen

    def with_chosen(self, chosen: Mapping[str, float | None]) -> Self:
        """Return the settings with the values that `resolve` determined."""
        update = {}
        for name in ("objective", "item_bias"):
            values = {key.partition(".")[2]: chosen[key] for key in chosen if key.startswith(f"{name}.")}
            update[name] = getattr(self, name).model_copy(update=values)
        return self.model_copy(update=update)

    def block_names(self) -> dict[str, set[str]]:
        """Return `user_tower` and `item_tower` -> names of the inputs."""
        history = self.history.block_dims(1).keys()
        user_blocks = {*self.features.user, *self.features.context, *history}
        return {"user_tower": user_blocks, "item_tower": set(self.features.item)}

    def has_optional_layers(self) -> bool:
        """Whether a tower may do without its layers (`widths=auto` with inputs besides the residual)."""
        return any(getattr(self, key).has_optional_layers(names) for key, names in self.block_names().items())

    def read_features(self) -> dict[str, Feature.Config]:
        """Return key -> feature, as `features.user.country`, of those that the towers or new items read."""
        blocks = self.block_names()
        in_user = self.user_tower.reads(blocks["user_tower"])
        in_item = self.item_tower.reads(blocks["item_tower"]) | self.new_items.reads(self.features.item)
        return {
            f"features.{side}.{name}": feature
            for side, names in (("user", in_user), ("item", in_item), ("context", in_user))
            for name, feature in getattr(self.features, side).items()
            if name in names
        }

    def sparse_keys(self) -> tuple[str, ...]:
        """Return the keys of the settings that give sparse gradients."""
        keys = [
            f"features.{side}.{name}"
            for side, features in self.features
            for name, feature in features.items()
            if feature.gives_sparse_gradients
        ]
        keys += [key for key in ("history", "item_bias") if getattr(self, key).gives_sparse_gradients]
        return tuple(f"{key}.sparse" for key in keys)

    def row_wise_keys(self) -> tuple[str, ...]:
        """Return the keys of the settings that divide a table among processes."""
        return tuple(
            f"features.{side}.{name}.row_wise"
            for side, features in self.features
            for name, feature in features.items()
            if isinstance(feature, Id.Config) and feature.row_wise
        )

    def input_problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) of settings from which the towers cannot be built."""
        if self.tower_width < 1:
            yield "embedding_dim", "has no column for the towers next to the item bias; raise it"
        if not self.block_names()["user_tower"]:
            message = "the user tower has no input; add a feature, or choose a history other than none"
            yield "features.user", message
        if not self.features.item:
            yield "features.item", "the item tower has no input; add a feature"
        blocks = self.history.block_dims(1).keys()
        for side in ("user", "context"):
            for reserved in sorted(blocks & getattr(self.features, side).keys()):
                key = f"features.{side}.{reserved}"
                yield key, "this name is used by the history encoder; choose another"
        if self.history.num_members > 1:
            yield from self._member_problems()
        trainer: TrainerChoice.Config | None = getattr(self, "trainer", None)
        if trainer is not None and trainer.ema_decay is not None and (tables := self.row_wise_keys()):
            yield "trainer.ema_decay", f"averages no divided tables; set it to null, or {tables[0]}=false"
        for name in sorted(self.features.user.keys() & self.features.context.keys()):
            yield f"features.context.{name}", "this name is used by a feature of users; choose another"

    def _member_problems(self) -> Iterator[tuple[str, str]]:
        members, width = self.history.num_members, self.tower_width
        if width % members:
            fitting = -(-width // members) * members + self.item_bias.width
            text = f"does not divide the {width} columns of the towers; set embedding_dim={fitting}"
            yield "history.members", text
