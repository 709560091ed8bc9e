"""Slices: which items and which users a result holds for."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.ranking import Targets
from twotower.evaluation.user_values import UserValues, means_of, user_values
from twotower.metrics.metric import Ranking, UserMetric

Masks = dict[str, dict[str, NDArray[np.bool_]]]
Slices = dict[str, dict[str, dict[str, float]]]

HEAD_SHARE = 0.5
MID_SHARE = 0.8


def item_slices(popularity: np.ndarray) -> Masks:
    """Return slices of the catalogue as masks over item rows [N + 1] (row 0 in none).

    `item_popularity`: items in order of train interactions; head = the fewest items that hold 50 % of all
    train interactions, mid = those that hold the next 30 %, tail = the rest, items never seen included.
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
    """Return slices of the evaluated users as masks [Q].

    `user_activity`: cold = empty history; the others in thirds by the length of their history: low up to
    the first tercile, mid up to the second, high above. Users of one length stay together, so that thirds
    may be uneven.
    """
    warm = history_lengths > 0
    low, high = np.quantile(history_lengths[warm], [1 / 3, 2 / 3]) if warm.any() else (0.0, 0.0)
    return {
        "user_activity": {
            "cold": ~warm,
            "low": warm & (history_lengths <= low),
            "mid": (history_lengths > low) & (history_lengths <= high),
            "high": history_lengths > max(high, 0),
        }
    }


def values_inside(
    ranking: Ranking, targets: Targets, mask: np.ndarray, metrics: Sequence[UserMetric], ks: Sequence[int]
) -> tuple[UserValues, NDArray[np.int64]]:
    """Return what users find of the targets in a slice (mask [N + 1] of item rows), in lists over all items.

    Metrics must be `by_target`. The values are of the users who have a target there; with how many they have.
    """
    counts = targets.counts(among=mask)
    inside = replace(ranking, hits=ranking.hits & mask[ranking.items], num_relevant=counts)
    return user_values(inside.take(counts > 0), metrics, ks), counts[counts > 0]


def by_item_slice(
    ranking: Ranking, targets: Targets, metrics: Sequence[UserMetric], ks: Sequence[int]
) -> Slices:
    """Return the metrics `by_target` over each slice of the catalogue that has a target."""
    countable = [metric for metric in metrics if metric.by_target]
    slices: Slices = {}
    for group, masks in item_slices(ranking.popularity).items():
        found = {name: values_inside(ranking, targets, mask, countable, ks) for name, mask in masks.items()}
        slices[group] = {
            name: means_of(values) | _sizes(counts) for name, (values, counts) in found.items() if len(counts)
        }
    return slices


def by_user_slice(ranking: Ranking, history_lengths: np.ndarray, values: UserValues) -> Slices:
    """Return the means of the per-user values over each slice of users."""
    return {
        group: {
            name: means_of({key: column[mask] for key, column in values.items()})
            | _sizes(ranking.num_relevant[mask])
            for name, mask in masks.items()
            if mask.any()
        }
        for group, masks in user_slices(history_lengths).items()
    }


def _sizes(num_relevant: np.ndarray) -> dict[str, float]:
    return {"num_users": len(num_relevant), "num_targets": int(num_relevant.sum())}
