"""What an index costs on labels: targets of users that exact search finds and the index misses.

Shapes: H hits, I interests of a user, D embedding.
"""

from dataclasses import dataclass

import numpy as np

from twotower.index.ground_truth import similar_sizes
from twotower.index.index import Index

Z95 = 1.96
RULE_OF_THREE = 3
"""Number of misses whose share of n hits is the 95 % bound of their rate, if none of n is missed."""


@dataclass(frozen=True)
class LabelHits:
    """Targets of users among the top k of exact search.

    Attributes:
        queries: [H, I, D] embeddings of the user of each hit.
        items: [H] positions of the items in the catalogue.
        num_fetched: [H] results that a service asks the index for.
        weights: [H] share of each hit in recall@k, the mean over users.
    """

    queries: np.ndarray
    items: np.ndarray
    num_fetched: np.ndarray
    weights: np.ndarray

    @property
    def recall(self) -> float:
        """recall@k of exact search."""
        return float(self.weights.sum())

    def difference(self, index: Index, rows: np.ndarray) -> tuple[float, tuple[float, float]]:
        """Return recall@k through an index minus that of exact search, and its 95 % interval.

        `rows` [H] are those of the items in the index.
        """
        if not len(rows):
            return 0.0, (0.0, 0.0)
        is_missed = np.zeros(len(rows), dtype=np.bool_)
        for hits in similar_sizes(self.num_fetched):
            wanted = self.num_fetched[hits]
            found = index.search(self.queries[hits].reshape(-1, index.dim), int(wanted.max())).rows
            found = found.reshape(len(hits), -1, found.shape[1])
            is_fetched = np.arange(found.shape[2]) < wanted[:, None, None]
            is_missed[hits] = ~((found == rows[hits, None, None]) & is_fetched).any(axis=(1, 2))
        if not is_missed.any():
            return 0.0, (-min(RULE_OF_THREE, len(rows)) * float(self.weights.mean()), 0.0)
        lost = float(self.weights[is_missed].sum())
        spread = Z95 * float(np.sqrt((self.weights[is_missed] ** 2).sum()))
        return -lost, (-lost - spread, min(0.0, -lost + spread))
