"""Coverage: the share of the catalogue that is recommended to any user."""

import numpy as np

from twotower.evaluation.metrics.metric import CatalogueMetric, Ranking


class Coverage(CatalogueMetric):
    """coverage@k = items in at least one user's first k / items in the catalogue.

    It grows with the number of users, so compare it on the same holdout only. 0 without recommended items.

    >>> ranking = Ranking.from_lists([[3, 1], [3, 2]], relevant=[{1}, {1}], popularity=[1, 1, 1, 1])
    >>> Coverage.Config().build().value(ranking, k=1), Coverage.Config().build().value(ranking, k=2)
    (0.25, 0.75)
    """

    name = "coverage"
    higher_is_better = True

    def value(self, ranking: Ranking, k: int) -> float:
        """Return the share of the catalogue that is recommended."""
        is_recommended = np.zeros(ranking.num_items + 1, dtype=np.bool_)
        is_recommended[ranking.top_items(k)] = True
        return float(is_recommended[1:].sum() / ranking.num_items)
