"""Rankings of recommended rows against a holdout, and metrics by slices.

Shapes: Q users of the holdout, T targets, N items, K length of the lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.metrics.metric import CatalogueMetric, Metric, Ranking, UserMetric
from twotower.evaluation.metrics.metric_data import Masks, item_slices, user_slices
from twotower.evaluation.top_k import ExcludedPairs
from twotower.evaluation.user_values import UserValues, mean_values, metric_key, user_values
from twotower.index.ground_truth import contains


def rank(top_rows: np.ndarray, holdout: Holdout, popularity: np.ndarray) -> Ranking:
    """Return the ranking of recommended rows [Q, K] (0 or -1 = no item) of the users of a holdout."""
    num_users, num_items = len(holdout.users), len(popularity) - 1
    queries = np.repeat(np.arange(num_users), np.diff(holdout.target_offsets))
    targets = np.unique(pair_keys(queries, np.asarray(holdout.target_items), num_items))
    queries, relevant = np.divmod(targets, num_items + 1)
    items, counts = np.maximum(top_rows, 0), np.bincount(queries, minlength=num_users)
    hits = contains(targets, pair_keys(np.arange(num_users)[:, None], items, num_items))
    return Ranking(items, hits, counts, relevant, popularity, holdout.users, holdout.history)


def part_values(
    rankings: Mapping[int, Ranking], part: NDArray[np.bool_], metrics: Sequence[UserMetric]
) -> UserValues:
    """Return metrics `by_target` of a part of the targets (mask [T]), of the users with a target in it.

    The lists of each k are over all items.
    """
    parts = {}
    for ranking in {id(each): each for each in rankings.values()}.values():  # often one for all k
        queries, positions = np.nonzero(ranking.hits)
        found = pair_keys(queries, ranking.items[queries, positions], ranking.num_items)
        targets = pair_keys(ranking.relevant_queries, ranking.relevant, ranking.num_items)
        hits, counts = np.zeros_like(ranking.hits), num_targets(ranking, part)
        hits[queries, positions] = part[np.searchsorted(targets, found)]
        changed = replace(ranking, hits=hits, num_relevant=counts, relevant=ranking.relevant[part])
        parts[id(ranking)] = changed.take(counts > 0)
    return user_values({k: parts[id(ranking)] for k, ranking in rankings.items()}, metrics)


def num_targets(ranking: Ranking, part: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of targets of each user [Q], in a part of the targets (mask [T])."""
    return np.bincount(ranking.relevant_queries[part], minlength=len(ranking.num_relevant))


def item_popularity(train: Interactions, num_items: int) -> NDArray[np.int64]:
    """Return the positive train interactions of each item row, int64 [N + 1]; row 0 counts none."""
    counts = np.bincount(train.positives.items, minlength=num_items + 1)
    counts[0] = 0
    return counts


def interaction_matrix(history: Interactions, users: np.ndarray, num_items: int) -> sparse.csr_array:
    """Return the items of each user as a matrix of ones, float32 [B, N]; item row r is in column r - 1."""
    positions, rows = history.flat(users)
    positions, rows = positions[rows > 0], rows[rows > 0]
    ones = np.ones(len(rows), dtype=np.float32)
    matrix = sparse.csr_array((ones, (positions, rows - 1)), shape=(len(users), num_items))
    matrix.data[:] = 1.0  # sums of the same item
    return matrix


def seen_pairs(history: Interactions, users: np.ndarray) -> ExcludedPairs:
    """Return (position in `users`, item row) of the distinct positives in the histories of users."""
    return distinct_pairs(*history.positives.flat(users))


def distinct_pairs(positions: np.ndarray, rows: np.ndarray) -> ExcludedPairs:
    """Return the distinct pairs of a user position and the row of a known item, in ascending order."""
    num_items = int(rows.max(initial=0))
    keys = np.unique(pair_keys(positions, rows, num_items)[rows > 0])
    return np.divmod(keys, num_items + 1)


def pair_keys(queries: np.ndarray, rows: np.ndarray, num_items: int) -> NDArray[np.int64]:
    """Return one integer per (user position, item row), ordered by user and then by row."""
    keys: NDArray[np.int64] = queries.astype(np.int64) * (num_items + 1) + rows
    return keys


Slices = dict[str, dict[str, dict[str, float]]]


def by_slice(
    rankings: Mapping[int, Ranking], values: UserValues, metrics: Sequence[Metric], repeats: bool
) -> Slices:
    """Return means over slices of the catalogue, of the users and of the targets; empty slices are left out.

    Slices of the catalogue and of the targets have the metrics that are `by_target`. Metrics of groups add
    the values of each group (`CatalogueMetric.by_group`).

    Args:
        rankings: the lists of each k.
        values: the per-user `metrics` of all users.
        repeats: whether targets are sliced by whether they are in the user's history.
    """
    ranking = next(iter(rankings.values()))  # the same users and targets for all k
    countable = [metric for metric in metrics if isinstance(metric, UserMetric) and metric.by_target]

    def sizes(part: NDArray[np.bool_]) -> dict[str, float]:
        return {"num_users": int((num_targets(ranking, part) > 0).sum()), "num_targets": int(part.sum())}

    def means(parts: Masks) -> dict[str, dict[str, float]]:
        return {
            name: mean_values(part_values(rankings, part, countable)) | sizes(part)
            for name, part in parts.items()
            if part.any()
        }

    slices = {
        group: means({name: mask[ranking.relevant] for name, mask in masks.items()})
        for group, masks in item_slices(ranking.popularity).items()
    }
    slices["user_activity"] = {
        name: mean_values({key: column[mask] for key, column in values.items()})
        | sizes(mask[ranking.relevant_queries])
        for name, mask in user_slices(ranking.history.counts()[ranking.users]).items()
        if mask.any()
    }
    if repeats:
        seen = pair_keys(*seen_pairs(ranking.history, ranking.users), ranking.num_items)
        targets = pair_keys(ranking.relevant_queries, ranking.relevant, ranking.num_items)
        is_repeated = np.isin(targets, seen)
        slices["target_repeat"] = means({"new": ~is_repeated, "repeated": is_repeated})
    for metric in (metric for metric in metrics if isinstance(metric, CatalogueMetric)):
        for k, ranked in rankings.items():
            for group, found in metric.by_group(ranked, k).items():
                for name, value in found.items():
                    slices.setdefault(group, {}).setdefault(name, {})[metric_key(metric, k)] = value
    return slices
