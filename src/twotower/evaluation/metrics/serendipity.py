"""Serendipity: hits that differ from what the user already knows."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking
from twotower.evaluation.metrics.similarity_metric import SimilarityMetric


class Serendipity(SimilarityMetric):
    """serendipity@k = sum of the distances of the hits in the first k / min(k, relevant).

    The distance of an item is 1 - its mean cosine to the items of the user's history: recall in which an
    expected hit counts little. A user without a history expects nothing, so that the value is recall.

    Reference: Kaminskas and Bridge, Diversity, Serendipity, Novelty, and Coverage, ACM TiiS 2017
    (content-based surprise; here the mean distance, not the smallest).

    >>> from twotower.evaluation.metrics.metric_data import MetricData
    >>> from scipy.sparse import csr_array
    >>> metric = Serendipity.Config().build()
    >>> metric.fit(MetricData(None, None, {"content": lambda: csr_array([[1, 0], [1, 0], [0, 1]])}))
    >>> ranking = Ranking.from_lists([[2, 3]], relevant=[{2, 3}], popularity=[1, 1, 1], histories=[[1]])
    >>> metric.per_user(ranking, k=2).tolist()  # item 2 equals item 1 of the history
    [0.5]
    """

    name = "serendipity"
    higher_is_better = True

    def block_values(self, ranking: Ranking, k: int) -> Floats:
        """Return the summed distances of the hits from the history per user [B], over the attainable hits."""
        queries, positions = np.nonzero(ranking.top_hits(k))
        hits = self.vector_sums(ranking, queries, ranking.items[queries, positions])
        owners, rows = ranking.history.positives.flat(ranking.users)
        past = self.vector_sums(ranking, owners, rows)
        lengths = np.bincount(owners, rows > 0, minlength=len(ranking.items))
        expected = hits.multiply(past).sum(axis=1) / np.maximum(lengths, 1)
        return np.asarray((ranking.num_hits(k) - expected) / ranking.attainable(k))
