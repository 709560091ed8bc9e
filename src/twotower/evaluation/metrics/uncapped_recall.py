"""Recall as many benchmarks define it, without a cap by the length of the list."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class UncappedRecall(UserMetric):
    """uncapped_recall@k = hits in the first k / relevant.

    For comparison with published figures. A perfect list has a value below 1 if a user has more than k
    relevant items.

    >>> ranking = Ranking.from_lists([[3, 1, 2]], relevant=[{1, 2, 4}], popularity=[1, 1, 1, 1])
    >>> round(float(UncappedRecall.Config().build().per_user(ranking, k=2)[0]), 4)
    0.3333
    """

    name = "uncapped_recall"
    higher_is_better = True
    by_target = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return hits / relevant per user [Q]."""
        return ranking.num_hits(k) / np.maximum(ranking.num_relevant, 1)
