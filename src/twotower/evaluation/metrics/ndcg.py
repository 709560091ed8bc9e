"""NDCG: hits, discounted by the logarithm of their rank."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class Ndcg(UserMetric):
    """NDCG@k = DCG@k / ideal DCG@k, DCG@k = sum of 1 / log2(position + 1) over the hits in the first k.

    The ideal list puts min(k, relevant) hits first.

    Reference: Järvelin and Kekäläinen (2002), Cumulated gain-based evaluation of IR techniques.

    >>> ranking = Ranking.from_lists([[3, 1, 2]], relevant=[{1}], popularity=[1, 1, 1])
    >>> Ndcg.Config().build().per_user(ranking, k=3).round(4).tolist()
    [0.6309]
    """

    name = "ndcg"
    higher_is_better = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return NDCG@k per user [Q]."""
        discounts = 1.0 / np.log2(np.arange(2, k + 2))
        ideal = np.cumsum(discounts)[ranking.attainable(k) - 1]
        return ranking.top_hits(k) @ discounts / ideal
