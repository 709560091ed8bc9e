"""Age of interactions."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.data.times import SECONDS_A_DAY


def ages(interactions: Interactions) -> NDArray[np.float64]:
    """Return the age of each interaction in days, [n]; the newest of all has age 0."""
    times = np.asarray(interactions.times)
    days: NDArray[np.float64] = (times.max() - times) / SECONDS_A_DAY
    return days


def ages_within_user(interactions: Interactions) -> NDArray[np.float64]:
    """Return the age of each interaction in days, [n]; the newest of each user has age 0."""
    times, ends = np.asarray(interactions.times), np.asarray(interactions.offsets)[1:]
    seconds = np.repeat(times[np.maximum(ends - 1, 0)], interactions.counts())
    seconds -= times
    days: NDArray[np.float64] = seconds / SECONDS_A_DAY
    return days


def newer_share_within_user(interactions: Interactions) -> NDArray[np.float64]:
    """Return the share of its user's interactions that are newer than each interaction, [n]."""
    counts, ends = interactions.counts(), np.asarray(interactions.offsets)[1:]
    newer: NDArray[np.float64] = np.repeat(ends, counts) - 1.0
    newer -= np.arange(len(newer))
    return newer / np.repeat(counts, counts)
