"""Coverage: the share of the catalogue that is recommended to any user."""

import numpy as np

from twotower.metrics.metric import CatalogueMetric, Ranking


class Coverage(CatalogueMetric):
    """coverage@k = items in at least one user's first k / items in the catalogue.

    Grows with the number of users: compare only over the same holdout. 0 when nothing was recommended.

    >>> ranking = Ranking.of([[3, 1], [3, 2]], relevant=[{1}, {1}], popularity=[1, 1, 1, 1])
    >>> Coverage.Config().build().value(ranking, k=1), Coverage.Config().build().value(ranking, k=2)
    (0.25, 0.75)
    """

    name = "coverage"
    higher_is_better = True

    def value(self, ranking: Ranking, k: int) -> float:
        """Return the share of the catalogue that is recommended."""
        shown = np.zeros(ranking.num_items + 1, dtype=np.bool_)
        shown[ranking.top_items(k)] = True
        return float(shown[1:].sum() / ranking.num_items)
