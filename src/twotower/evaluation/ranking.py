"""Rankings of recommended rows against a holdout, and metrics by slices.

Shapes: Q users of the holdout, T targets, N items, K length of the lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.top_k import ExcludedPairs
from twotower.evaluation.user_values import UserValues, mean_values, metric_key, user_values
from twotower.index.ground_truth import contains
from twotower.metrics.metric import CatalogueMetric, Metric, Ranking, UserMetric
from twotower.metrics.metric_data import Masks, item_slices, user_slices


@dataclass(frozen=True)
class Targets:
    """The T distinct relevant items of Q users of a holdout: `keys` int64 [T] are ascending `pair_keys`."""

    keys: NDArray[np.int64]
    num_items: int
    users: np.ndarray
    history: Interactions

    @property
    def num_queries(self) -> int:
        """Return Q."""
        return len(self.users)

    @property
    def queries(self) -> NDArray[np.int64]:
        """Return the user position of each target [T]."""
        return self.keys // (self.num_items + 1)

    @property
    def items(self) -> NDArray[np.int64]:
        """Return the item row of each target [T]."""
        return self.keys % (self.num_items + 1)

    def counts(self, part: np.ndarray | slice = slice(None)) -> NDArray[np.int64]:
        """Return the number of targets of each user [Q], in a part of the targets (mask [T])."""
        return np.bincount(self.queries[part], minlength=self.num_queries)


def holdout_targets(holdout: Holdout, num_items: int) -> Targets:
    """Return the relevant items of a holdout, each once per user."""
    queries = np.repeat(np.arange(len(holdout.users)), np.diff(holdout.target_offsets))
    keys = np.unique(pair_keys(queries, np.asarray(holdout.target_items), num_items))
    return Targets(keys, num_items, holdout.users, holdout.history)


def rank(top_rows: np.ndarray, targets: Targets, popularity: np.ndarray) -> Ranking:
    """Return the ranking of recommended rows [Q, K] (0 or -1 = no item) against the targets."""
    items = np.maximum(top_rows, 0)
    keys = pair_keys(np.arange(targets.num_queries)[:, None], items, targets.num_items)
    relevant, past = (targets.counts(), targets.items), (targets.users, targets.history)
    return Ranking(items, contains(targets.keys, keys), *relevant, targets.num_items, popularity, *past)


def part_values(
    rankings: Mapping[int, Ranking], targets: Targets, part: NDArray[np.bool_], metrics: Sequence[UserMetric]
) -> UserValues:
    """Return metrics `by_target` of a part of the targets (mask [T]), of the users with a target in it.

    The lists of each k are over all items.
    """
    counts, parts = targets.counts(part), {}
    for ranking in {id(each): each for each in rankings.values()}.values():  # often one for all k
        queries, positions = np.nonzero(ranking.hits)
        keys = pair_keys(queries, ranking.items[queries, positions], targets.num_items)
        hits = np.zeros_like(ranking.hits)
        hits[queries, positions] = part[np.searchsorted(targets.keys, keys)]
        changed = replace(ranking, hits=hits, num_relevant=counts, relevant=targets.items[part])
        parts[id(ranking)] = changed.take(counts > 0)
    return user_values({k: parts[id(ranking)] for k, ranking in rankings.items()}, metrics)


def item_popularity(train: Interactions, num_items: int) -> NDArray[np.int64]:
    """Return the positive train interactions of each item row, int64 [N + 1]; row 0 counts none."""
    counts = np.bincount(train.positives.items, minlength=num_items + 1)
    counts[0] = 0
    return counts


def seen_pairs(history: Interactions, users: np.ndarray) -> ExcludedPairs:
    """Return (position in `users`, item row) of the positives in the histories of users.

    Positions ascend; repeated items are repeated.
    """
    positions, rows = history.positives.flat(users)
    known = rows > 0
    return positions[known].astype(np.int64), rows[known].astype(np.int64)


def pair_keys(queries: np.ndarray, rows: np.ndarray, num_items: int) -> NDArray[np.int64]:
    """Return one integer per (user position, item row), ordered by user and then by row."""
    keys: NDArray[np.int64] = queries.astype(np.int64) * (num_items + 1) + rows
    return keys


Slices = dict[str, dict[str, dict[str, float]]]


def repeat_slices(targets: Targets, holdout: Holdout) -> Masks:
    """Return slices of the targets [T]: those in the user's history (`repeated`), and the others (`new`)."""
    seen = pair_keys(*seen_pairs(holdout.history, holdout.users), targets.num_items)
    is_repeated = np.isin(targets.keys, seen)
    return {"new": ~is_repeated, "repeated": is_repeated}


def by_slice(
    rankings: Mapping[int, Ranking],
    targets: Targets,
    holdout: Holdout,
    popularity: np.ndarray,
    values: UserValues,
    metrics: Sequence[Metric],
) -> Slices:
    """Return means over slices of the catalogue, of the users and of the targets; empty slices are left out.

    Slices of the catalogue and of the targets have the metrics that are `by_target`. Metrics of groups add
    the values of each group (`CatalogueMetric.by_group`).

    Args:
        rankings: the lists of each k.
        targets: the relevant items of the holdout.
        popularity: [N + 1] interactions of each item row.
        values: the per-user `metrics` of all users.
    """
    countable = [metric for metric in metrics if isinstance(metric, UserMetric) and metric.by_target]

    def sizes(part: NDArray[np.bool_]) -> dict[str, float]:
        return {"num_users": int((targets.counts(part) > 0).sum()), "num_targets": int(part.sum())}

    def means(parts: Masks) -> dict[str, dict[str, float]]:
        return {
            name: mean_values(part_values(rankings, targets, part, countable)) | sizes(part)
            for name, part in parts.items()
            if part.any()
        }

    slices = {
        group: means({name: mask[targets.items] for name, mask in masks.items()})
        for group, masks in item_slices(popularity).items()
    }
    slices["user_activity"] = {
        name: mean_values({key: column[mask] for key, column in values.items()})
        | sizes(mask[targets.queries])
        for name, mask in user_slices(holdout.history.counts()[holdout.users]).items()
        if mask.any()
    }
    if holdout.repeats:
        slices["target_repeat"] = means(repeat_slices(targets, holdout))
    for metric in (metric for metric in metrics if isinstance(metric, CatalogueMetric)):
        for k, ranking in rankings.items():
            for group, found in metric.by_group(ranking, k).items():
                for name, value in found.items():
                    slices.setdefault(group, {}).setdefault(name, {})[metric_key(metric, k)] = value
    return slices
