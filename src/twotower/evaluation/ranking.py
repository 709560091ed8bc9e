"""Rankings of recommended rows against a holdout, and metrics by slices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.top_k import ExcludedPairs
from twotower.evaluation.user_values import UserValues, mean_values, user_values
from twotower.index.ground_truth import contains
from twotower.metrics.metric import Ranking, UserMetric


@dataclass(frozen=True)
class Targets:
    """The distinct relevant items of Q users: `keys` int64 [T] are ascending `pair_keys`."""

    keys: NDArray[np.int64]
    num_queries: int
    num_items: int

    @property
    def queries(self) -> NDArray[np.int64]:
        """Return the user position of each target [T]."""
        return self.keys // (self.num_items + 1)

    @property
    def items(self) -> NDArray[np.int64]:
        """Return the item row of each target [T]."""
        return self.keys % (self.num_items + 1)

    def counts(self, among: np.ndarray | None = None) -> NDArray[np.int64]:
        """Return the targets of each user [Q], all of them or only those whose row is marked in `among`."""
        queries = self.queries if among is None else self.queries[among[self.items]]
        return np.bincount(queries, minlength=self.num_queries)


def holdout_targets(holdout: Holdout, num_items: int) -> Targets:
    """Return the relevant items of a holdout, each once per user."""
    queries = np.repeat(np.arange(len(holdout.users)), np.diff(holdout.target_offsets))
    keys = np.unique(pair_keys(queries, np.asarray(holdout.target_items), num_items))
    return Targets(keys, len(holdout.users), num_items)


def rank(top_rows: np.ndarray, targets: Targets, popularity: np.ndarray) -> Ranking:
    """Return the ranking of recommended rows [Q, K] (0 or -1 = no item) against the targets."""
    items = np.maximum(top_rows, 0)
    keys = pair_keys(np.arange(targets.num_queries)[:, None], items, targets.num_items)
    return Ranking(items, contains(targets.keys, keys), targets.counts(), targets.num_items, popularity)


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


def without_seen(rows: np.ndarray, exclude: ExcludedPairs, num_items: int, k: int) -> NDArray[np.int64]:
    """Return the first k allowed items, int64 [Q, k], of longer lists as an approximate index gives them.

    Item rows [Q, M] are best first, 0 or -1 = no item; M should exceed k by the items excluded.
    """
    listed = np.maximum(rows, 0).astype(np.int64)
    queries = np.arange(len(listed), dtype=np.int64)[:, None]
    dropped = contains(np.sort(pair_keys(*exclude, num_items)), pair_keys(queries, listed, num_items))
    listed[dropped] = 0
    order = np.argsort(listed == 0, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(listed, order, axis=1)
    return np.pad(kept, ((0, 0), (0, k - kept.shape[1])))


def pair_keys(queries: np.ndarray, rows: np.ndarray, num_items: int) -> NDArray[np.int64]:
    """Return one integer per (user position, item row), ordered by user and then by row."""
    keys: NDArray[np.int64] = queries.astype(np.int64) * (num_items + 1) + rows
    return keys


Masks = dict[str, NDArray[np.bool_]]
Slices = dict[str, dict[str, dict[str, float]]]
Parts = dict[str, tuple[NDArray[np.bool_], NDArray[np.int64]]]
"""Part of the targets -> list positions with an item of it [Q, K], and number of its targets [Q]."""
HEAD_SHARE = 0.5
MID_SHARE = 0.8


def item_slices(popularity: np.ndarray) -> dict[str, Masks]:
    """Return slices of the catalogue as masks over item rows [N + 1] (row 0 in none).

    `item_popularity`: items in order of train interactions; head = the fewest items that hold 50 % of all
    train interactions, mid = those that hold the next 30 %, tail = the rest, with items without interactions.
    `item_cold`: cold = no train interaction, warm = any.
    """
    counts = popularity[1:]
    order = np.argsort(-counts, kind="stable")
    before = np.empty(len(counts), dtype=np.int64)
    before[order] = np.cumsum(counts[order]) - counts[order]
    total = counts.sum()
    head = (before < HEAD_SHARE * total) & (counts > 0)
    mid = (before < MID_SHARE * total) & (counts > 0) & ~head
    slices = {
        "item_popularity": {"head": head, "mid": mid, "tail": ~head & ~mid},
        "item_cold": {"cold": counts == 0, "warm": counts > 0},
    }
    return {
        group: {name: np.concatenate([[False], mask]) for name, mask in masks.items()}
        for group, masks in slices.items()
    }


def user_slices(history_lengths: np.ndarray) -> Masks:
    """Return slices of the evaluated users by their activity, as masks [Q].

    cold = empty history; the others in thirds by the length of their history: low up to the first tercile,
    mid up to the second, high above. Users of one length stay together, so that thirds may be uneven.
    """
    warm = history_lengths > 0
    low, high = np.quantile(history_lengths[warm], [1 / 3, 2 / 3]) if warm.any() else (0.0, 0.0)
    return {
        "cold": ~warm,
        "low": warm & (history_lengths <= low),
        "mid": (history_lengths > low) & (history_lengths <= high),
        "high": history_lengths > max(high, 0),
    }


def repeat_slices(ranking: Ranking, targets: Targets, holdout: Holdout) -> Parts:
    """Return the targets in the user's history (`repeated`) and the others (`new`).

    Only where repeats are kept; otherwise all targets are new.
    """
    seen = np.unique(pair_keys(*seen_pairs(holdout.history, holdout.users), targets.num_items))
    listed = pair_keys(np.arange(targets.num_queries)[:, None], ranking.items, targets.num_items)
    has_listed, has_target = contains(seen, listed), contains(seen, targets.keys)
    new, repeated = (
        np.bincount(targets.queries[mask], minlength=targets.num_queries)
        for mask in (~has_target, has_target)
    )
    return {"new": (~has_listed, new), "repeated": (has_listed, repeated)}


def values_inside(
    ranking: Ranking,
    inside: np.ndarray,
    counts: NDArray[np.int64],
    metrics: Sequence[UserMetric],
    ks: Sequence[int],
) -> UserValues:
    """Return per-user metrics of a part of the targets, in lists over all items.

    Args:
        ranking: the lists.
        inside: mask [Q, K] of the list positions with an item of the part.
        counts: targets of each user in the part, [Q]. Values are of the users with any.
        metrics: they are `by_target`.
        ks: list lengths.
    """
    part = replace(ranking, hits=ranking.hits & inside, num_relevant=counts)
    return user_values(part.take(counts > 0), metrics, ks)


def by_slice(
    ranking: Ranking,
    targets: Targets,
    holdout: Holdout,
    values: UserValues,
    metrics: Sequence[UserMetric],
    ks: Sequence[int],
) -> Slices:
    """Return means over slices of the catalogue, of the users and of the targets; empty slices are left out.

    Slices of the catalogue and of the targets have the metrics that are `by_target`.
    """
    countable = [metric for metric in metrics if metric.by_target]

    def means(parts: Parts) -> dict[str, dict[str, float]]:
        return {
            name: mean_values(values_inside(ranking, inside, counts, countable, ks))
            | _sizes(counts[counts > 0])
            for name, (inside, counts) in parts.items()
            if counts.any()
        }

    slices = {
        group: means({name: (mask[ranking.items], targets.counts(mask)) for name, mask in masks.items()})
        for group, masks in item_slices(ranking.popularity).items()
    }
    slices["user_activity"] = {
        name: mean_values({key: column[mask] for key, column in values.items()})
        | _sizes(ranking.num_relevant[mask])
        for name, mask in user_slices(holdout.history.counts()[holdout.users]).items()
        if mask.any()
    }
    if holdout.repeats:
        slices["target_repeat"] = means(repeat_slices(ranking, targets, holdout))
    return slices


def _sizes(num_relevant: np.ndarray) -> dict[str, float]:
    return {"num_users": len(num_relevant), "num_targets": int(num_relevant.sum())}
