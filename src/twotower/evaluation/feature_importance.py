"""Permutation importance: what trained towers lose without the values of a feature.

Shapes: Q users of a holdout, N items, D embedding, W width of a block.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions, expand_ranges
from twotower.evaluation.evaluate_towers import (
    encode_catalogue,
    holdout_requests,
    shared_history_vectors,
    user_batches,
)
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.top_k import exact_top_k
from twotower.evaluation.user_values import metric_name
from twotower.model.features.id import Id
from twotower.model.towers.two_tower import TwoTower
from twotower.parallel.ranks import gather_rows, share

LOG = logging.getLogger("twotower")
MIN_USERS, MAX_USERS, MAX_SCORES = 1024, 4096, 2**30
"""A larger holdout is sampled: at most 4,096 users and 2^30 scores, but at least 1,024 users."""
SEED = 0
ALL, HISTORY = "all", "history"
SLICES = {
    "no_history": ("user_activity", "cold"),
    "short_history": ("user_activity", "low"),
    "new_items": ("item_cold", "cold"),
    "rare_items": ("item_popularity", "tail"),
}
"""Part of the users or targets -> group and slice of `ranking.by_slice`; `all` has all of them."""
Values = dict[str, float]
"""Part -> value of the metric."""


class Readable(NamedTuple):
    """A feature that the towers read, or the history.

    Attributes:
        name: `user.country`, `item.price`, `history`.
        blocks: the inputs of the user tower that depend on it; none for a feature of items.
        is_id: whether it is an id.
        is_for_new: whether it changes only the embeddings of new items.
    """

    name: str
    blocks: Sequence[str] = ()
    is_id: bool = False
    is_for_new: bool = False


def feature_importance(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, interactions: Interactions, monitor: str
) -> dict[str, Any]:
    """Return the drop of a metric when the values of a feature are permuted, for each feature that is read.

    Values of users, contexts and request times are permuted over the users of the holdout, histories over
    those who have one, values of items over the catalogue, and ids over known items. The seed is fixed.

    Args:
        interactions: those of the training, for popularity.
        monitor: the monitored metric; a metric of ranked lists replaces a metric of labels.

    Returns:
        The part `feature_importance` of the result, see `runs.result_parts.FeatureImportance`; empty if it is
        off, or if the towers read nothing besides ids and the history.

    Reference: Breiman, Random Forests, Machine Learning 45, 2001, section 10.
    """
    repeats, metric = evaluator.config.importance_repeats, evaluator.config.list_metric(monitor)
    if not repeats or metric is None:
        return {}
    began, popularity = time.monotonic(), item_popularity(interactions, len(model.trained_items) - 1)
    features = read_features(model)
    if (popularity[np.asarray(holdout.target_items)] > 0).all():
        features = [each for each in features if not each.is_for_new]
    if all(each.is_id or each.name == HISTORY for each in features):
        names = ", ".join(each.name for each in features)
        LOG.debug("feature importance: not measured, because the towers read only %s", names)
        return {}
    towers = _Towers(model, _sample(holdout, len(popularity)), evaluator.only(metric), metric, popularity)
    constant = [each.name for each in features if towers.is_constant(each)]
    measured = [each for each in features if each.name not in constant]
    sign = -1 if evaluator.config.higher_is_better()[metric_name(metric)] is False else 1
    drops: dict[str, dict[str, list[float | None]]] = {}
    with Progress("feature importance", len(measured)) as advance:
        for feature in measured:
            generator = np.random.default_rng(SEED)
            permuted = [towers.permuted(feature, generator) for _ in range(repeats)]
            drops[feature.name] = {
                part: _mean_and_sd(sign * (value - np.array([each[part] for each in permuted])))
                for part, value in towers.values.items()
            }
            advance(len(drops))
    seconds = time.monotonic() - began
    LOG.debug(
        "feature importance: %d features, each permuted %d times for %s validation users, in %.1f s (%s)",
        *(len(drops), repeats, f"{len(towers.users):,}", seconds, metric.replace("_at_", "@")),
    )
    return {
        "metric": metric,
        "repeats": repeats,
        "num_users": towers.num_users,
        "values": towers.values,
        "drops": drops,
        "only_for_new_items": [each.name for each in measured if each.is_for_new],
        "constant": constant,
        "seconds": round(seconds, 3),
    }


def read_features(model: TwoTower) -> list[Readable]:
    """Return the features on which the embeddings of users and items depend, the history as one of them."""
    blocks = model.user_tower.reads()
    found = [
        Readable(f"{side}.{name}", [name], isinstance(feature, Id))
        for side, table in (("user", model.users), ("context", model.contexts))
        for name, feature in table.features.items()
        if name in blocks
    ]
    history = blocks - model.users.features.keys() - model.contexts.features.keys()
    found += [Readable(HISTORY, sorted(history))] if history else []
    in_tower = model.item_tower.reads()
    for_new = model.new_items.config.reads({name: each.config for name, each in model.items.features.items()})
    return found + [
        Readable(f"item.{name}", (), isinstance(feature, Id), name not in in_tower)
        for name, feature in model.items.features.items()
        if name in in_tower | for_new
    ]


class _Towers:
    """Towers with their embeddings of the users of a holdout and of the catalogue.

    Processes that train together rank for a share of the users each.

    Attributes:
        users: their embeddings, [Q, D].
        values: of the metric, by part.
        num_users: by part.
    """

    @torch.inference_mode()
    def __init__(
        self, model: TwoTower, holdout: Holdout, evaluator: Evaluator, metric: str, popularity: np.ndarray
    ) -> None:
        self.model, self.holdout, self.evaluator = model.eval(), holdout, evaluator
        self.metric, self.popularity, self.own = metric, popularity, share(len(holdout.users))
        self.excluded = evaluator.excluded(holdout, self.own)
        self.blocks = self._user_blocks()
        self.users, self.items = model.embed_user_blocks(self.blocks), encode_catalogue(model)
        self.num_users: dict[str, int] = {}
        self.values = self._measure(self.users, self.items)

    def is_constant(self, feature: Readable) -> bool:
        """Return whether all users or items have the same value."""
        values = [self.blocks[name] for name in feature.blocks] or [self._item_values(feature)]
        return all(bool((each == each[:1]).all()) for each in values)

    @torch.inference_mode()
    def permuted(self, feature: Readable, generator: np.random.Generator) -> Values:
        """Return the metric by part with the values of a feature in random order."""
        if feature.blocks:
            counts = self.holdout.history.counts()[self.holdout.users]
            order = self._order(generator, counts > 0 if feature.name == HISTORY else counts >= 0)
            others = {name: self.blocks[name][order] for name in feature.blocks}
            return self._measure(self.model.embed_user_blocks(self.blocks | others), self.items)
        values = self._item_values(feature)
        known = (values[:, 0] != 0).cpu().numpy() if feature.is_id else np.ones(len(values), dtype=np.bool_)
        rows = self._order(generator, np.concatenate([[False], known]))
        with self.model.items.permuted(feature.name.partition(".")[2], rows):
            users = self.users
            if self.model.history.config.reads_towers:
                users = self.model.embed_user_blocks(self._user_blocks())
            return self._measure(users, encode_catalogue(self.model))

    def _order(self, generator: np.random.Generator, moved: NDArray[np.bool_]) -> Tensor:
        """Return positions in which those of a mask are permuted."""
        order = np.arange(len(moved))
        order[moved] = generator.permutation(order[moved])
        return torch.from_numpy(order).to(self.users.device)

    def _item_values(self, feature: Readable) -> Tensor:
        """Return the encoded values of the catalogue, [N, W]."""
        return self.model.items.all_rows()[feature.name.partition(".")[2]]

    def _user_blocks(self) -> dict[str, Tensor]:
        """Return the inputs of the user tower, each [Q, W]."""
        requests = holdout_requests(self.holdout, np.arange(len(self.holdout.users)))
        batches = user_batches(self.model, self.holdout.history, *requests)
        vectors = shared_history_vectors(self.model, len(self.holdout.users))
        found = [(positions, self.model.user_blocks(batch, vectors)) for positions, batch in batches]
        places = torch.from_numpy(np.argsort(np.concatenate([positions for positions, _ in found])))
        return {name: torch.cat([blocks[name] for _, blocks in found])[places] for name in found[0][1]}

    def _measure(self, users: Tensor, items: Tensor) -> Values:
        own, _ = exact_top_k(users[self.own], items, self.evaluator.max_k, self.excluded)
        top = gather_rows(torch.from_numpy(own)).numpy()
        report = self.evaluator.evaluate(top, self.holdout, self.popularity)
        parts: dict[str, Mapping[str, float]] = {
            part: report.slices.get(group, {}).get(name, {}) for part, (group, name) in SLICES.items()
        }
        parts = {ALL: report.metrics | {"num_users": report.num_users}} | parts
        parts = {part: values for part, values in parts.items() if self.metric in values}
        self.num_users = {part: int(values["num_users"]) for part, values in parts.items()}
        return {part: values[self.metric] for part, values in parts.items()}


def _sample(holdout: Holdout, num_items: int) -> Holdout:
    """Return the holdout without labels, of a random sample of its users if it is large."""
    num_users = min(len(holdout.users), MAX_USERS, max(MIN_USERS, MAX_SCORES // num_items))
    drawn = np.random.default_rng(SEED).choice(len(holdout.users), num_users, replace=False)
    positions = np.sort(drawn)
    counts = np.diff(holdout.target_offsets)[positions]
    _, targets = expand_ranges(np.asarray(holdout.target_offsets)[positions], counts)
    return replace(
        holdout,
        users=holdout.users[positions],
        target_offsets=np.cumsum([0, *counts]),
        target_items=holdout.target_items[targets],
        request_times=holdout.request_times[positions],
        context=None if holdout.context is None else holdout.context[positions],
        labelled=None,
    )


def _mean_and_sd(values: np.ndarray) -> list[float | None]:
    """Return mean and standard deviation; None for that of one value."""
    return [float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None]
