"""Repeat consumption: the items of the user's history, most frequent first."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import BaselineData
from twotower.evaluation.baselines.popularity_baseline import PopularityBaseline


class BoughtBefore(PopularityBaseline):
    """Score of an item = its count in the user's history; ties by latest time, then by popularity.

    Other items follow by popularity. Used only with `data.repeats=keep`.

    Reference: Hu et al., Modeling Personalized Item Frequency Information for Next-basket Recommendation,
    SIGIR 2020, baseline "personal top frequency".
    """

    class Config(PopularityBaseline.Config):
        suggestion = "history=weighted_pooling initialization=svd"

        def applies_to(self, holdout: Holdout, past: BaselineData) -> bool:
            """Tell whether items of the history can be recommended."""
            return holdout.repeats

    config: Config

    def shared_scores(self) -> None:
        """Return None: users have different scores."""

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return scores of 1 and more for items of the history, and less for all others."""
        num_items = len(self.counts)
        found = np.tile(self.counts / (self.counts.max(initial=0) + 1), (len(users), 1))
        positives = history.positives
        owners, positions = positives.positions(users)
        keys = owners * (num_items + 1) + positives.items[positions]
        order = np.argsort(keys, kind="stable")
        pairs, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
        latest = positives.times[positions][order][first + counts - 1]
        queries, columns = pairs // (num_items + 1), pairs % (num_items + 1) - 1
        ranked = np.lexsort((self.counts[columns], latest, counts, queries))
        ranks = np.arange(len(pairs)) - np.searchsorted(queries, queries)
        found[queries[ranked], columns[ranked]] = 1 + ranks
        return found.astype(np.float32)
