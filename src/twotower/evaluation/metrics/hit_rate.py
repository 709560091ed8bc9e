"""Hit rate: whether the list has a relevant item."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class HitRate(UserMetric):
    """HR@k = 1 if the first k have a hit, else 0 (also called success@k).

    With leave-one-out it equals recall@k.

    >>> ranking = Ranking.from_lists([[3, 1, 2], [1, 2, 3]], relevant=[{1, 2}, {3}], popularity=[1, 1, 1])
    >>> HitRate.Config().build().per_user(ranking, k=2).tolist()
    [1.0, 0.0]
    """

    name = "hit_rate"
    higher_is_better = True
    by_target = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return 1.0 or 0.0 per user [Q]."""
        return (ranking.num_hits(k) > 0).astype(np.float64)
