"""Permutation importance: what trained towers lose without the values of a feature.

Shapes: Q users of a holdout, N items, D embedding, W width of a block.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions, expand_ranges
from twotower.evaluation.division import Division
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

LOG = logging.getLogger("twotower")
MIN_USERS, MAX_USERS, MAX_SCORES = 1024, 4096, 2**30
"""A larger holdout is sampled: at most 4,096 users and 2^30 scores, but at least 1,024 users."""
SEED = 0
HISTORY = "history"
SLICES = {
    "no_history": ("user_activity", "cold"),
    "short_history": ("user_activity", "low"),
    "new_items": ("item_cold", "cold"),
    "rare_items": ("item_popularity", "tail"),
}
"""Part of the users or targets -> group and slice of `ranking.by_slice`; `all` has all of them."""
Blocks = dict[str, Tensor]
"""Inputs of the user tower for the users of a holdout, each [Q, W]."""


class Readable(NamedTuple):
    """A feature that the towers read, or the history."""

    name: str  # `user.country`, `item.price`, `history`
    blocks: Sequence[str] = ()  # the inputs of the user tower that depend on it; none for a feature of items
    is_id: bool = False
    is_for_new: bool = False  # whether it changes only the embeddings of new items


@torch.inference_mode()
def feature_importance(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, interactions: Interactions, monitor: str
) -> dict[str, Any]:
    """Return the drop of a metric when the values of a feature are permuted, for each feature that is read.

    Values of users, contexts and request times are permuted over the users of the holdout, histories over
    those who have one, values of items over the catalogue, and ids over known items. The seed is fixed.
    Processes that train together rank for a share of the users each.

    Args:
        interactions: training interactions, for popularity.
        monitor: the monitored metric; a metric of ranked lists replaces a metric of labels.

    Returns:
        The part `feature_importance` of the result, see `runs.result_parts.FeatureImportance`; empty if it is
        off, or if the towers read nothing besides ids and the history.

    Reference: Breiman, Random Forests, Machine Learning 45, 2001, section 10.
    """
    repeats, metric = evaluator.config.importance_repeats, evaluator.config.list_metric(monitor)
    if not repeats or metric is None:
        return {}
    began, popularity = time.monotonic(), item_popularity(interactions, model.items.num_rows)
    features = _read_features(model)
    if (popularity[np.asarray(holdout.target_items)] > 0).all():
        features = [each for each in features if not each.is_for_new]
    if all(each.is_id or each.name == HISTORY for each in features):
        names = ", ".join(each.name for each in features)
        LOG.debug("feature importance: not measured, because the towers read only %s", names)
        return {}
    only, holdout = evaluator.only(metric), _sample(holdout, len(popularity))
    division = evaluator.division
    own = division.share(len(holdout.users))
    excluded = only.excluded(holdout, own)

    def measure(blocks: Blocks, items: Tensor) -> dict[str, dict[str, float]]:
        """Return the metric and `num_users` of each part, of inputs of the user tower and items [N, D]."""
        users = model.embed_user_blocks(blocks)[own]
        top = division.gather_rows(torch.from_numpy(exact_top_k(users, items, only.max_k, excluded)[0]))
        report = only.evaluate(top.numpy(), holdout, popularity)
        parts = {part: report.slices.get(group, {}).get(name, {}) for part, (group, name) in SLICES.items()}
        parts = {"all": report.metrics | {"num_users": report.num_users}} | parts
        return {part: figures for part, figures in parts.items() if metric in figures}

    blocks, items = _user_blocks(model.eval(), holdout), encode_catalogue(model, division)
    before, constant = measure(blocks, items), []
    sign = -1 if evaluator.config.higher_is_better()[metric_name(metric)] is False else 1
    drops: dict[str, dict[str, list[float | None]]] = {}
    with Progress("feature importance", len(features)) as advance:
        for number, feature in enumerate(features, start=1):
            if all(bool((each == each[:1]).all()) for each in _values(model, blocks, feature)):
                constant.append(feature.name)
                continue
            generator, drops[feature.name] = np.random.default_rng(SEED), {}
            permuted = [
                measure(*_permuted(model, holdout, blocks, items, feature, generator, division))
                for _ in range(repeats)
            ]
            for part, figures in before.items():
                lost = sign * (figures[metric] - np.array([each[part][metric] for each in permuted]))
                deviation = float(lost.std(ddof=1)) if repeats > 1 else None
                drops[feature.name][part] = [float(lost.mean()), deviation]
            advance(number)
    seconds = time.monotonic() - began
    LOG.debug(
        "feature importance: %d features, each permuted %d times for %s validation users, in %.1f s (%s)",
        *(len(drops), repeats, f"{len(holdout.users):,}", seconds, metric.replace("_at_", "@")),
    )
    return {
        "metric": metric,
        "repeats": repeats,
        "num_users": {part: int(figures["num_users"]) for part, figures in before.items()},
        "values": {part: figures[metric] for part, figures in before.items()},
        "drops": drops,
        "only_for_new_items": [each.name for each in features if each.is_for_new and each.name in drops],
        "constant": constant,
        "seconds": round(seconds, 3),
    }


def _read_features(model: TwoTower) -> list[Readable]:
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
    features, in_tower = model.items.features, model.item_tower.reads()
    for_new = model.new_items.config.reads({name: each.config for name, each in features.items()})
    return found + [
        Readable(f"item.{name}", (), isinstance(feature, Id), name not in in_tower)
        for name, feature in features.items()
        if name in in_tower | for_new
    ]


def _values(model: TwoTower, blocks: Blocks, feature: Readable) -> list[Tensor]:
    """Return the encoded values of a feature: of users in each block [Q, W], or of the catalogue [N, W]."""
    item_feature = feature.name.removeprefix("item.")
    return [blocks[name] for name in feature.blocks] or [model.items.all_rows()[item_feature]]


def _permuted(
    model: TwoTower,
    holdout: Holdout,
    blocks: Blocks,
    items: Tensor,
    feature: Readable,
    generator: np.random.Generator,
    division: Division,
) -> tuple[Blocks, Tensor]:
    """Return the inputs of the user tower and embeddings of items, with values of a feature permuted."""
    if feature.blocks:
        counts = holdout.history.counts()[holdout.users]
        is_moved = counts >= (1 if feature.name == HISTORY else 0)
    else:
        (values,) = _values(model, blocks, feature)
        is_known = (values[:, 0] != 0).cpu().numpy()
        is_moved = np.append(False, is_known if feature.is_id else np.ones_like(is_known))
    order = np.arange(len(is_moved))
    order[is_moved] = generator.permutation(order[is_moved])
    rows = torch.from_numpy(order).to(items.device)
    if feature.blocks:
        return blocks | {name: blocks[name][rows] for name in feature.blocks}, items
    with model.items.permuted(feature.name.removeprefix("item."), rows):
        reads_items = model.history.config.reads_towers
        return _user_blocks(model, holdout) if reads_items else blocks, encode_catalogue(model, division)


def _user_blocks(model: TwoTower, holdout: Holdout) -> Blocks:
    """Return the inputs of the user tower, each [Q, W]."""
    requests = holdout_requests(holdout, np.arange(len(holdout.users)))
    vectors = shared_history_vectors(model, len(holdout.users))
    found = [
        (positions, model.user_blocks(batch, vectors))
        for positions, batch in user_batches(model, holdout.history, *requests)
    ]
    places = torch.from_numpy(np.argsort(np.concatenate([positions for positions, _ in found])))
    return {name: torch.cat([blocks[name] for _, blocks in found])[places] for name in found[0][1]}


def _sample(holdout: Holdout, num_items: int) -> Holdout:
    """Return the holdout without labels, of a random sample of its users if it is large."""
    num_users = min(len(holdout.users), MAX_USERS, max(MIN_USERS, MAX_SCORES // num_items))
    positions = np.sort(np.random.default_rng(SEED).choice(len(holdout.users), num_users, replace=False))
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
