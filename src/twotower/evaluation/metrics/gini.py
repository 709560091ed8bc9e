"""Gini coefficient of the recommendations per item."""

import numpy as np

from twotower.evaluation.metrics.metric import CatalogueMetric, Ranking


class Gini(CatalogueMetric):
    """gini@k = sum over items of (2 i - N - 1) c_i / (N sum c), c_i ascending.

    c_i is the number of lists with item i of the catalogue in the first k. 0: all items are recommended
    equally often; (N - 1) / N: all users get the same item. 0 without recommended items.

    Reference: Fleder and Hosanagar (2009), Blockbuster culture's next rise or fall, section 4.

    >>> ranking = Ranking.from_lists([[1], [1], [1]], relevant=[{1}, {1}, {1}], popularity=[1, 1, 1, 1])
    >>> Gini.Config().build().value(ranking, k=1)
    0.75
    """

    name = "gini"
    higher_is_better = False

    def value(self, ranking: Ranking, k: int) -> float:
        """Return the Gini coefficient of recommendation counts over the catalogue."""
        size = ranking.num_items
        counts = np.sort(np.bincount(ranking.top_items(k).ravel(), minlength=size + 1)[1:])
        total = counts.sum()
        if total == 0:
            return 0.0
        weights = 2 * np.arange(1, size + 1) - size - 1
        return float(weights @ counts / (size * total))
