"""Precision: the share of the list that is relevant."""

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class Precision(UserMetric):
    """precision@k = hits in the first k / k.

    It divides by k even if the list is shorter or fewer than k items are relevant, so a perfect list may
    have a value below 1 (compare recall).

    >>> ranking = Ranking.from_lists([[3, 1, 2, 0]], relevant=[{1, 2}], popularity=[1, 1, 1])
    >>> Precision.Config().build().per_user(ranking, k=4).tolist()
    [0.5]
    """

    name = "precision"
    higher_is_better = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return hits / k per user [Q]."""
        return ranking.num_hits(k) / k
