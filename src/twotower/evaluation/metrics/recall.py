"""Recall: the share of the relevant items in the list."""

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class Recall(UserMetric):
    """recall@k = hits in the first k / min(k, relevant).

    With this denominator a perfect list has the value 1 at every k; see also `UncappedRecall`.

    >>> ranking = Ranking.from_lists([[3, 1, 2]], relevant=[{1, 2, 4}], popularity=[1, 1, 1, 1])
    >>> Recall.Config().build().per_user(ranking, k=2).tolist()
    [0.5]
    """

    name = "recall"
    higher_is_better = True
    by_target = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return hits / min(k, relevant) per user [Q]."""
        return ranking.num_hits(k) / ranking.attainable(k)
