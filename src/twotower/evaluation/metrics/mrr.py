"""MRR: the reciprocal rank of the first hit."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class Mrr(UserMetric):
    """MRR@k = 1 / position of the first hit, 0 without a hit in the first k.

    >>> ranking = Ranking.from_lists([[3, 1, 2], [1, 2, 3]], relevant=[{1, 2}, {3}], popularity=[1, 1, 1])
    >>> Mrr.Config().build().per_user(ranking, k=2).tolist()
    [0.5, 0.0]
    """

    name = "mrr"
    higher_is_better = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return the reciprocal rank of the first hit per user [Q]."""
        hits = ranking.top_hits(k)
        return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)
