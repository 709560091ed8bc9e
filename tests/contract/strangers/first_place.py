"""A metric of somebody else's: in places, not a share, and the lower the better."""

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.metrics.metric import Ranking, UserMetric


class FirstPlace(UserMetric):
    """first_place@k = place of the first hit, k + 1 when the first k places hold none.

    >>> ranking = Ranking.from_lists([[3, 1, 2], [1, 2, 3]], relevant=[{1, 2}, {3}], popularity=[1, 1, 1])
    >>> FirstPlace.Config().build().per_user(ranking, k=2).tolist()
    [2.0, 3.0]
    """

    name = "first_place"
    higher_is_better = False

    def per_user(self, ranking: Ranking, k: int) -> NDArray[np.float64]:
        hits = ranking.top_hits(k)
        return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, k + 1.0)
