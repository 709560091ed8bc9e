"""Popularity bias: recommended items against the items of the user's own history."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class PopularityBias(UserMetric):
    """popularity_bias@k = log2(mean popularity of the first k / mean popularity of the history).

    1: the recommended items are twice as popular as the user's own, 0: as popular, -1: half as popular.
    Popularity is train interactions + 1. It does not depend on hits, so it has no better direction. 0 without
    a history or for an empty list.

    Reference: Abdollahpouri et al., The Connection Between Popularity Bias, Calibration, and Fairness in
    Recommendation, RecSys 2020 (popularity lift is 2^value - 1; theirs is a ratio of means over users).

    >>> ranking = Ranking.from_lists([[1, 2]], relevant=[{1}], popularity=[9, 5, 3], histories=[[3]])
    >>> PopularityBias.Config().build().per_user(ranking, k=2).tolist()  # (10 + 6) / 2 against 4
    [1.0]
    """

    name = "popularity_bias"
    higher_is_better = None

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return the logarithm of the ratio per user [Q]."""
        num_users, items = len(ranking.items), ranking.top_items(k)
        popularity = np.append(0.0, ranking.popularity[1:] + 1.0)

        def mean(queries: np.ndarray, rows: np.ndarray) -> Floats:
            counts = np.bincount(queries, rows > 0, minlength=num_users)
            return np.bincount(queries, popularity[rows], minlength=num_users) / np.maximum(counts, 1)

        listed = mean(np.repeat(np.arange(num_users), k), items.ravel())
        own = mean(*ranking.history.positives.flat(ranking.users))
        is_defined = (listed > 0) & (own > 0)
        return np.asarray(np.log2(np.where(is_defined, listed, 1) / np.where(is_defined, own, 1)))
