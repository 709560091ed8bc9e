"""Values of metrics by key, their means over users, and intervals."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.metrics.label_metric import LabelMetric, Scored
from twotower.evaluation.metrics.metric import Metric, Ranking, UserMetric

UserValues = dict[str, NDArray[np.float64]]

LIST_HASH = "list_hash"  # column of per-user values; see `list_hashes`
HASH_BASE = np.uint64(0x9E3779B97F4A7C15)
AT_K = re.compile(r"_at_(\d+)$")


def metric_key(metric: Metric | type[Metric], k: int | None) -> str:
    """Return the key of a metric at k: `recall_at_20`; `auc` of a metric without k."""
    return metric.name if k is None else f"{metric.name}_at_{k}"


def metric_name(key: str) -> str:
    """Return the metric name of a key: `recall` of `valid/recall_at_20`."""
    return AT_K.sub("", key.rpartition("/")[2])


def metric_k(key: str) -> str:
    """Return the k of a key: `20` of `valid/recall_at_20`; empty for keys without k such as `auc`."""
    found = AT_K.search(key)
    return found[1] if found else ""


def user_values(rankings: Mapping[int, Ranking], metrics: Sequence[UserMetric]) -> UserValues:
    """Return key -> values [Q] of every metric for the lists of each k."""
    return {
        metric_key(metric, k): metric.per_user(ranking, k)
        for metric in metrics
        for k, ranking in rankings.items()
    }


def list_hashes(rankings: Mapping[int, Ranking]) -> NDArray[np.uint64]:
    """Return a hash [Q] of the first k items of each user's list, for all k together.

    Equal lists have equal hashes; different lists almost never do.
    """
    total: NDArray[np.uint64] = np.zeros(1, dtype=np.uint64)
    for k, ranking in rankings.items():
        powers = HASH_BASE ** np.arange(k, 0, -1, dtype=np.uint64)
        total = total + ranking.top_items(k).astype(np.uint64) @ powers
    return total


def mean_values(values: UserValues) -> dict[str, float]:
    """Return key -> mean over users."""
    return {key: float(column.mean()) for key, column in values.items()}


def exceeds(values: NDArray[np.float64] | None, reference: NDArray[np.float64] | None) -> bool:
    """Return whether values of users exceed others [Q] by more than a standard error of the mean.

    True if either are None: the metric has no value per user.
    """
    if values is None or reference is None:
        return True
    differences = values - reference
    if len(differences) < 2:
        return False
    return bool(differences.mean() > differences.std(ddof=1) / np.sqrt(len(differences)))


LARGE = 200_000  # users: with more, the normal interval agrees with percentiles of resampled means
BLOCK_DRAWS = 2**20
Z_95 = 1.959963984540054


def mean_intervals(values: UserValues, num_bootstrap: int) -> dict[str, list[float]]:
    """Return key -> [low, high] as in `bootstrap_interval`; {} without resamples."""
    if not values or not num_bootstrap:
        return {}
    bounds = bootstrap_interval(np.stack(list(values.values()), axis=1), num_bootstrap)
    return dict(zip(values, bounds.tolist(), strict=True))


def bootstrap_interval(values: np.ndarray, num_bootstrap: int, seed: int = 0) -> NDArray[np.float64]:
    """Return the 95 % percentile intervals [M, 2] of the means over users of values [Q, M].

    Above 200,000 users, the interval is the mean +- 1.96 standard errors.

    Reference: Efron and Tibshirani (1993), An introduction to the bootstrap, section 13.3.
    """
    if len(values) > LARGE:
        half = Z_95 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
        return np.stack([values.mean(axis=0) - half, values.mean(axis=0) + half], axis=1)
    means = resampled_means(values, len(values), num_bootstrap, seed)
    bounds: NDArray[np.float64] = np.quantile(means, [0.025, 0.975], axis=0).T
    return bounds


def resampled_means(
    values: np.ndarray, num_drawn: int, num_resamples: int, seed: int = 0
) -> NDArray[np.float64]:
    """Return the means [num_resamples, M] over users who are drawn with replacement from values [Q, M].

    Each resample has `num_drawn` users, the same for all columns. It is the number of times each user was
    drawn (multinomial weights), so that a block of resamples is one matrix product.
    """
    generator, num_users = np.random.default_rng(seed), len(values)
    block = max(1, BLOCK_DRAWS // max(num_users, num_drawn))
    means = []
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        drawn = generator.integers(num_users, size=(size, num_drawn), dtype=np.int32)
        drawn += np.arange(size, dtype=np.int32)[:, None] * num_users
        weights = np.bincount(drawn.ravel(), minlength=size * num_users).reshape(size, num_users)
        means.append(weights @ values / num_drawn)
    return np.concatenate(means)


def label_values(metrics: Sequence[LabelMetric], scored: Scored | None) -> dict[str, float]:
    """Return name -> value of each metric that is defined for these examples."""
    values = {metric.name: metric.value(scored) for metric in metrics if scored is not None}
    return {name: value for name, value in values.items() if value is not None}


def label_intervals(metrics: Sequence[LabelMetric], scored: Scored | None) -> dict[str, list[float]]:
    """Return name -> [low, high]: the value +- 1.96 standard errors of the mean influence of a user.

    Reference: Deng, Knoblich and Lu, Applying the Delta Method in Metric Analytics, KDD 2018, section 2.
    """
    intervals: dict[str, list[float]] = {}
    if scored is None or scored.num_users < 2:
        return intervals
    for metric in metrics:
        if (value := metric.value(scored)) is not None:
            influence = metric.influence(scored)
            half = Z_95 * np.sqrt((influence**2).sum() * len(influence) / (len(influence) - 1))
            intervals[metric.name] = [float(value - half), float(value + half)]
    return intervals
