"""Item neighbors by co-occurrence."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from twotower.config.spec import NonNegativeFloat, PositiveInt
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData, TriedValues
from twotower.evaluation.baselines.ease import gram_blocks, shared_gram
from twotower.evaluation.baselines.popularity_baseline import popular_last
from twotower.evaluation.ranking import interaction_matrix

BLOCK_NUMBERS = 2**24  # of a block of similarities; as float32 they are 64 MiB


class ItemKnn(Baseline):
    """Score of an item = the sum of its similarities to its neighbors in the history.

    The cited method keeps the neighbors of the history's items instead.

    The similarity of i and j is c_ij / (sqrt(c_i c_j) + shrinkage), where c is the number of users with an
    item or with both. Other items follow by popularity. It needs N^2 operations and 12 N x `neighbors` bytes.

    Reference: Deshpande and Karypis, Item-based top-N recommendation algorithms, TOIS 2004, section 4; the
    shrinkage is from Bell and Koren, ICDM 2007, section 3.
    """

    class Config(Baseline.Config):
        neighbors: PositiveInt = 100
        """Number of most similar items of each item."""
        shrinkage: NonNegativeFloat = 50
        """Users added to the denominator, which lowers similarities of few users."""
        max_items: PositiveInt = 50_000
        """Largest catalogue it is run on."""

        def space(self, past: BaselineData) -> Mapping[str, TriedValues]:
            """Return numbers of neighbors and shrinkages."""
            return {
                "neighbors": TriedValues((20, 50, 200, 500)),
                "shrinkage": TriedValues((0.0, 10.0, 200.0, 1000.0)),
            }

        def skip_reason(self, past: BaselineData) -> str | None:
            """See `Baseline.Config.skip_reason`."""
            too_many = f"{past.num_items} items are above max_items = {self.max_items}"
            return too_many if past.num_items > self.max_items else None

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Compute similarities [N, N]; column i has the similarities of item i to its neighbors."""
        matrix, self.fallback = past.matrix, past.fallback
        self.counts = np.asarray(matrix.sum(axis=0), dtype=np.float32)
        size = max(BLOCK_NUMBERS // past.num_items, 1)
        blocks = gram_blocks(matrix, "item_knn", size, past.budget, shared_gram(past))
        lines = [self._nearest(block, counts) for block, counts in blocks]
        self.similarities = scipy.sparse.csr_array(scipy.sparse.vstack(lines).T)

    def _nearest(self, block: slice, both: NDArray[np.float32]) -> scipy.sparse.csr_array:
        """Return the similarities [n, N] of a block of items to their neighbors, from co-occurrences."""
        norms = np.sqrt(self.counts)
        found = both / np.maximum(norms[block, None] * norms + self.config.shrinkage, 1)
        found[np.arange(len(found)), np.arange(block.start, block.stop)] = 0.0
        count = min(self.config.neighbors, found.shape[1])
        columns = np.argpartition(-found, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(found, columns, axis=1)
        rows = np.repeat(np.arange(len(found)), count)
        near = scipy.sparse.csr_array((values.ravel(), (rows, columns.ravel())), shape=found.shape)
        near.eliminate_zeros()
        return near

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the sums over the users' histories."""
        matrix = interaction_matrix(history, users, len(self.counts))
        found: NDArray[np.float32] = (matrix @ self.similarities).toarray()
        return popular_last(found, self.fallback)
