"""All settings of a run, typed; built from once, asked before anything is read."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import PrivateAttr

from twotower.config.component import Component, Config
from twotower.config.facts import Facts
from twotower.config.problems import Problem
from twotower.config.reading import read
from twotower.config.run_keys import WARM_START, RunKeys, WarmStartKey
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.evaluation.baselines.baseline import Baselines
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.user_values import name_of
from twotower.index.index import Index
from twotower.runs.folder_name import problems_of_place
from twotower.serving.walkthrough import Walkthrough
from twotower.training.trackers.tracker import Tracker
from twotower.training.training_config import TrainingConfig


class RunConfig(RunKeys, TrainingConfig):
    """What a single run is made of."""

    data: Source.Config
    split: Split.Config
    index: Index.Config
    metrics: Evaluator.Config
    baselines: Baselines
    walkthrough: Walkthrough.Config | None = None
    tracker: Tracker.Config | None = None
    _settings: dict[str, Any] = PrivateAttr(default_factory=dict)
    _overrides: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def composed(cls, settings: Mapping[str, Any], overrides: Sequence[str]) -> Self:
        """Return the typed settings of a run, with the plain values and the overrides that they are from."""
        config = cls.of(settings)
        config._settings, config._overrides = dict(settings), tuple(overrides)
        return config

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values as composed, which a run's config.yaml holds."""
        return self._settings or self.plain()

    @property
    def overrides(self) -> tuple[str, ...]:
        """What was typed."""
        return self._overrides

    def between(self, num_items: int | None = None, whole: bool = True) -> Iterator[Problem]:
        """Yield what is wrong with the choices together: each is asked, with what is known of the others.

        Args:
            num_items: of the catalogue, once it is known for sure.
            whole: whether all fields are there; otherwise what cannot be known without the others is not.
        """
        facts = self._facts(num_items, whole)
        with _unless(whole):
            yield from (Problem(key, message) for key, message in self.input_problems())
        for key, choice in choices_of(self, RunConfig):
            for field, message in choice.problems(dataclasses.replace(facts, key=key)):
                yield Problem(f"{key}.{field}" if field else key, message)

    def _facts(self, num_items: int | None, whole: bool) -> Facts:
        known: dict[str, Any] = {}
        for name, tell in FACTS.items():
            with _unless(whole):
                known[name] = tell(self)
        if num_items is not None:
            known["num_items"] = num_items
        return Facts(**known)


class WarmStartRunConfig(RunConfig, WarmStartKey):
    """What a run is made of that goes on from another."""


def problems_of(settings: Mapping[str, Any]) -> list[Problem]:
    """Find every mistake in the settings of a run, each alone and all together."""
    config, found = read(WarmStartRunConfig if WARM_START in settings else RunConfig, settings)
    return [*found, *problems_of_place(settings), *config.between(whole=not found)]


def _unless(whole: bool) -> contextlib.AbstractContextManager[None]:
    """Let it pass that a field is not there, where some are known to be at fault."""
    return contextlib.nullcontext() if whole else contextlib.suppress(AttributeError)


def _logged(config: RunConfig) -> dict[str, bool | None]:
    ways = config.metrics.higher_is_better()
    return {f"valid/{key}": ways[name_of(key)] for key in config.metrics.keys()}  # noqa: SIM118


def _sparse(config: RunConfig) -> tuple[str, ...]:
    features = config.features
    sides = {"user": features.user, "item": features.item, "context": features.context}
    found = [
        f"features.{side}.{name}"
        for side, of_side in sides.items()
        for name, feature in of_side.items()
        if feature.gives_sparse_gradients
    ]
    found += ["history"] if config.history.gives_sparse_gradients else []
    found += ["item_bias"] if config.item_bias.gives_sparse_gradients else []
    return tuple(f"{key}.sparse" for key in found)


FACTS: dict[str, Callable[[RunConfig], Any]] = {
    "embedding_dim": lambda config: config.embedding_dim,
    "num_items": lambda config: config.data.catalogue_size(),
    "columns": lambda config: config.data.columns(),
    "gives_split": lambda config: config.data.gives_split(),
    "has_times": lambda config: config.data.has_times(),
    "gives_negatives": lambda config: config.data.gives_negatives(),
    "events": lambda config: config.data.events_of_histories(),
    "every_position": lambda config: config.history.gives_every_position,
    "blocks": lambda config: config.block_names(),
    "provided": lambda config: config.provides() | config.negatives.provides,
    "remedies": lambda config: config.remedies(),
    "negatives": lambda config: config.negatives.owner.__name__,
    "num_draws": lambda config: config.negatives.num_draws(config.objective.batch_size),
    "shown_as": lambda config: config.loss.impressions or "",
    "num_shown": lambda config: config.negatives.max_impressions(),
    "has_fixed_temperature": lambda config: not config.loss.scoring().learns_temperature,
    "logged": _logged,
    "sparse": _sparse,
}


def choices_of(
    settings: Config, kind: type[Config] | None = None, prefix: str = ""
) -> Iterator[tuple[str, Config]]:
    """Yield the key and the settings of every choice, however deep.

    Args:
        settings: that hold choices.
        kind: whose fields are looked at; None for all that the settings have.
        prefix: of the keys.
    """
    fields = (kind or type(settings)).model_fields
    values: Mapping[str, Any] = {name: getattr(settings, name) for name in fields if hasattr(settings, name)}
    values = {**values, **(settings.model_extra or {})}
    waiting = [(f"{prefix}{name}", value) for name, value in values.items()]
    while waiting:
        key, value = waiting.pop(0)
        if isinstance(value, Mapping):
            waiting = [(f"{key}.{name}", each) for name, each in value.items()] + waiting
        elif isinstance(value, Config):
            if isinstance(value, Component.Config):
                yield key, value
            yield from choices_of(value, prefix=f"{key}.")
