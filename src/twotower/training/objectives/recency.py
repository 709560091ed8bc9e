"""How much an interaction counts by its age."""

import logging

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.towers.item_bias.decayed_shares import Counted, Mixture

LOG = logging.getLogger("twotower")
SHARE = 1 / 3
"""Of the half-life of popularity, by validation on the sets of `scripts/bench/carry_over.py`: the best of
real logs were 3 to 20 days, of made-up ones without a trend 60 and more."""


def halved(age_days: NDArray[np.float64], half_life: float | None, oldest: float | None = None) -> np.ndarray:
    """Return weights [n] that halve every half-life and are 0 beyond the highest age, 1 on average."""
    weights = np.ones(len(age_days)) if half_life is None else 0.5 ** (age_days / half_life)
    if oldest is not None:
        weights[age_days > oldest] = 0
    scaled: np.ndarray = (weights / weights[weights > 0].mean()).astype(np.float32)
    return scaled


def half_life_days(interactions: Interactions, ahead_days: float) -> float:
    """Return a half-life for moments of training: a third of that with which popularity is forgotten.

    The latter is that of the mixture which tells best what is taken next; see `Mixture.half_life`. Where what
    is wanted changes fast, moments long past teach what holds no more; where nothing changes, all do alike,
    and infinity is returned.

    Args:
        interactions: that is trained on.
        ahead_days: how far ahead the next thing lies.
    """
    interactions = interactions.positives
    items, times = np.asarray(interactions.items), np.asarray(interactions.times)
    counted = Counted.of(items, times, int(items.max(initial=1)))
    days = SHARE * Mixture.fit(counted, counted.ahead(ahead_days)).half_life(counted) * counted.stretch_days
    LOG.info("objective.recency_half_life_days=%.3g, by how fast popularity is forgotten", days)
    return days
