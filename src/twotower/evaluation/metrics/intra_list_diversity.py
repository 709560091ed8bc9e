"""Intra-list diversity: how different the recommended items are from each other."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking
from twotower.evaluation.metrics.similarity_metric import SimilarityMetric


class IntraListDiversity(SimilarityMetric):
    """intra_list_diversity@k = 1 - mean cosine of all pairs of items in the first k.

    0: all items are alike, as in a list of one; 1: no two items have anything in common. It does not depend
    on hits, so it has no better direction: random lists are diverse.

    Reference: Ziegler et al., Improving recommendation lists through topic diversification, WWW 2005.

    >>> from twotower.evaluation.metrics.metric_data import MetricData
    >>> from scipy.sparse import csr_array
    >>> metric = IntraListDiversity.Config().build()
    >>> metric.fit(MetricData(None, None, {"content": lambda: csr_array([[1, 0], [1, 0], [0, 1]])}))
    >>> ranking = Ranking.from_lists([[1, 2, 3]], relevant=[{1}], popularity=[1, 1, 1])
    >>> metric.per_user(ranking, k=2).tolist(), metric.per_user(ranking, k=3).round(4).tolist()
    ([0.0], [0.6667])
    """

    name = "intra_list_diversity"
    higher_is_better = None

    def block_values(self, ranking: Ranking, k: int) -> Floats:
        """Return the mean distance of two items of the list per user [B]."""
        items = ranking.top_items(k)
        queries, positions = np.nonzero(items)
        total = self.vector_sums(ranking, queries, items[queries, positions])
        cosines = total.multiply(total).sum(axis=1) - self.has_vector[items].sum(axis=1)  # with itself: 1
        lengths = (items > 0).sum(axis=1)
        pairs = lengths * (lengths - 1)
        return np.where(pairs > 0, 1 - cosines / np.maximum(pairs, 1), 0.0)
