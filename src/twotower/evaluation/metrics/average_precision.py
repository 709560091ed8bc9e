"""Average precision: the precision at every hit, averaged; its mean over users is MAP."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class AveragePrecision(UserMetric):
    """MAP@k = (sum over the hits in the first k of the precision at their position) / min(k, relevant).

    With this denominator a perfect list has the value 1. Some libraries divide by the number of hits, which
    doubles typical values.

    Reference: Manning, Raghavan and Schütze (2008), Introduction to Information Retrieval, section 8.4.

    >>> ranking = Ranking.from_lists([[3, 1, 2]], relevant=[{1, 2}], popularity=[1, 1, 1])
    >>> AveragePrecision.Config().build().per_user(ranking, k=3).round(4).tolist()
    [0.5833]
    """

    name = "map"
    higher_is_better = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return average precision@k per user [Q]."""
        hits = ranking.top_hits(k)
        precisions = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
        return np.asarray((precisions * hits).sum(axis=1) / ranking.attainable(k))
