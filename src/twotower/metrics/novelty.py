"""Novelty: the mean self-information of the recommended items."""

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.metric import Ranking, UserMetric


class Novelty(UserMetric):
    """novelty@k = mean over the items in the first k of -log2 p(item), in bits.

    p(item) = (train interactions of the item + 1) / (train interactions + N): the chance that a random train
    interaction is with this item, add-one smoothed so that an item nobody has seen stays finite. It is
    log2(N) when every item is equally popular. Hits play no part, so neither more nor less of it is better:
    random lists are very novel. A user with an empty list scores 0.

    Reference: Vargas and Castells (2011), Rank and relevance in novelty and diversity metrics for
    recommender systems, section 4.1 (free discovery).

    >>> ranking = Ranking.of([[1, 2]], relevant=[{1}], popularity=[3, 0, 0, 1])
    >>> Novelty.Config().build().per_user(ranking, k=2).tolist()
    [2.0]
    """

    name = "novelty"
    higher_is_better = None

    def per_user(self, ranking: Ranking, k: int) -> NDArray[np.float64]:
        """Return the mean surprise of the recommended items per user [Q], bits."""
        counts = ranking.popularity[1:]
        bits = np.zeros(ranking.num_items + 1)
        bits[1:] = np.log2(counts.sum() + ranking.num_items) - np.log2(counts + 1)
        items = ranking.top_items(k)
        lengths = np.maximum((items > 0).sum(axis=1), 1)
        surprise: NDArray[np.float64] = bits[items].sum(axis=1) / lengths
        return surprise
