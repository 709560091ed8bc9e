"""Novelty: the mean self-information of the recommended items."""

import numpy as np

from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric


class Novelty(UserMetric):
    """novelty@k = mean over the items in the first k of -log2 p(item), in bits.

    p(item) = (train interactions of the item + 1) / (train interactions + N). It is log2(N) if all items are
    equally popular. It does not depend on hits, so it has no better direction. 0 for an empty list.

    Reference: Vargas and Castells (2011), Rank and relevance in novelty and diversity metrics for
    recommender systems, section 4.1 (free discovery).

    >>> ranking = Ranking.from_lists([[1, 2]], relevant=[{1}], popularity=[3, 0, 0, 1])
    >>> Novelty.Config().build().per_user(ranking, k=2).tolist()
    [2.0]
    """

    name = "novelty"
    higher_is_better = None

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return the mean self-information of the recommended items per user [Q], in bits."""
        counts = ranking.popularity[1:]
        bits = np.zeros(ranking.num_items + 1)
        bits[1:] = np.log2(counts.sum() + ranking.num_items) - np.log2(counts + 1)
        items = ranking.top_items(k)
        return np.asarray(bits[items].sum(axis=1) / np.maximum((items > 0).sum(axis=1), 1))
