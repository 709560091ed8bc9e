"""Weights of interactions by age."""

import logging

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.towers.item_bias.decayed_shares import IntervalCounts, Mixture

LOG = logging.getLogger("twotower")
SHARE = 1 / 3
"""Half-life of the weights relative to that of popularity, chosen by `scripts/bench/carry_over.py`."""


def halved(ages: NDArray[np.float64], half_life: float | None, max_age: float | None = None) -> np.ndarray:
    """Return weights [n] that halve with each half-life and are 0 beyond the maximum age, 1 on average."""
    weights = np.ones(len(ages)) if half_life is None else 0.5 ** (ages / half_life)
    if max_age is not None:
        weights[ages > max_age] = 0
    scaled: np.ndarray = (weights / weights[weights > 0].mean()).astype(np.float32)
    return scaled


def half_life_days(interactions: Interactions, ahead_days: float) -> float:
    """Return a half-life for training examples, in days: a third of the half-life of popularity.

    The latter is that of the mixture that best predicts later interactions; see `Mixture.half_life`. It is
    short if demand changes fast, and infinite if it does not change.

    Args:
        interactions: the training interactions.
        ahead_days: how far ahead the mixture predicts.
    """
    interactions = interactions.positives
    items, times = np.asarray(interactions.items), np.asarray(interactions.times)
    counted = IntervalCounts.from_log(items, times, int(items.max(initial=1)))
    days = (
        SHARE
        * Mixture.fit(counted, counted.knots_ahead(ahead_days)).half_life(counted)
        * counted.interval_days
    )
    LOG.info("objective.recency_half_life_days=%.3g, from the half-life of popularity", days)
    return days
