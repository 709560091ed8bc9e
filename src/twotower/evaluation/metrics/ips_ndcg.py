"""NDCG with inverse propensities."""

import numpy as np

from twotower.evaluation.metrics.ips_recall import IpsRecall
from twotower.evaluation.metrics.metric import Floats


class IpsNdcg(IpsRecall):
    """ips_ndcg@k = NDCG@k with the gain 1 / propensity of a relevant item; see `IpsRecall`.

    The ideal list has the rarest relevant items first, so equal propensities give NDCG.

    >>> from twotower.evaluation.metrics.metric import Ranking
    >>> ranking = Ranking.from_lists([[1, 3]], relevant=[{1, 3}], popularity=[8, 1, 2])
    >>> metric = IpsNdcg.Config(power=1.0).build()
    >>> metric.per_user(ranking, k=2).round(4).tolist()  # (1 + 4 / log2(3)) / (4 + 1 / log2(3))
    [0.7609]
    """

    name = "ips_ndcg"

    def discounts(self, k: int) -> Floats:
        """Return 1 / log2(position + 1) [k]."""
        return 1.0 / np.log2(np.arange(2, k + 2))
