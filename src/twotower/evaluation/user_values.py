"""Per-user metric values under their keys, and their means."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.metric import Metric, Ranking, UserMetric

UserValues = dict[str, NDArray[np.float64]]


def key_of(metric: Metric | type[Metric], k: int) -> str:
    """Return the key of a metric at k: `recall_at_20`."""
    return f"{metric.name}_at_{k}"


def name_of(key: str) -> str:
    """Return the name of the metric that a key is of: `recall` of `valid/recall_at_20`."""
    return key.rpartition("/")[2].rpartition("_at_")[0]


def user_values(ranking: Ranking, metrics: Sequence[UserMetric], ks: Sequence[int]) -> UserValues:
    """Return key -> values [Q] of every metric at every k."""
    return {key_of(metric, k): metric.per_user(ranking, k) for metric in metrics for k in ks}


def means_of(values: UserValues) -> dict[str, float]:
    """Return key -> mean over users."""
    return {key: float(column.mean()) for key, column in values.items()}
