"""What an index costs on labels: targets of users that it loses, and others that take their places.

Shapes: U users, M items of an exact list, D embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from twotower.index.ground_truth import SearchResult, similar_sizes

Search = Callable[[np.ndarray, int], SearchResult]
Z95 = 1.96
RULE_OF_THREE = 3
"""Number of changed users whose share of n is the 95 % bound of their rate, if none of n changes."""


@dataclass(frozen=True)
class LabelLists:
    """The best items of users by exact search, and which of them are targets.

    Lists longer than k show the items that a user gets in place of missed ones.

    Attributes:
        queries: [U, D] embeddings of the users.
        items: [U, M] rows of the items in the index, best first, without those that a service removes; -1
            after the end.
        weights: [U, M] share of each item in recall@k, the mean over users; 0 if it is not a target.
        num_fetched: [U] results that a service asks the index for; 0 if it scores all items instead.
        k: length of the list of a service.
    """

    queries: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    num_fetched: np.ndarray
    k: int

    @property
    def recall(self) -> float:
        """recall@k of exact search."""
        return float(self.weights[:, : self.k].sum())

    def difference(self, search: Search, is_exact: bool) -> tuple[float, tuple[float, float]]:
        """Return recall@k of a search minus recall@k of exact search, and its 95 % interval."""
        num_users, num_places = self.items.shape
        if not num_users:
            return 0.0, (0.0, 0.0)
        is_found = self._found(search)
        is_listed = is_found & (is_found.cumsum(axis=1) <= self.k)
        is_listed[self.num_fetched == 0] = np.arange(num_places) < self.k
        changes = (self.weights * is_listed).sum(axis=1) - self.weights[:, : self.k].sum(axis=1)
        spread = Z95 * float(np.sqrt((changes**2).sum()))
        if not changes.any() and not is_exact:
            spread = min(RULE_OF_THREE, num_users) * self.recall / num_users
        change = float(changes.sum())
        return change, (change - spread, change + spread)

    def _found(self, search: Search) -> np.ndarray:
        """Return which items [U, M] are among the results that a service asks an index for."""
        is_found = np.zeros(self.items.shape, dtype=np.bool_)
        for users in similar_sizes(self.num_fetched):
            wanted = self.num_fetched[users]
            found = search(self.queries[users], int(wanted.max())).rows
            found[np.arange(found.shape[1]) >= wanted[:, None]] = -1
            for user, results in zip(users, found, strict=True):
                is_found[user] = np.isin(self.items[user], results) & (self.items[user] >= 0)
        return is_found
