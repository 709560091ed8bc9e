"""Base class of metrics that compare items by the cosine of their vectors.

Shapes: Q users, B users of a block, N items, V components of the vectors.
"""

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric
from twotower.evaluation.metrics.metric_data import MetricData

USERS_AT_ONCE = 1024


class SimilarityMetric(UserMetric):
    """A metric of cosines of items, in a space that is the same for towers and baselines; call `fit` first.

    An item without a vector has the cosine 0 with all others.
    """

    class Config(UserMetric.Config):
        reads_content = True
        by: Literal["content", "embeddings"] = "content"
        """Vectors of items: `content` = their features except ids, with equal weights; `embeddings` = the
        first 64 singular vectors of the training interactions, which need no features."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse content of items without features."""
            if self.by == "content" and context.get("has_content") is False:
                yield "by", "the items have no features besides ids; use embeddings"

    config: Config

    def fit(self, data: MetricData) -> None:
        """Choose the vectors; they are computed by their first use."""
        self.vectors = data.vectors[self.config.by]

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return the value of each user [Q], in blocks of users, so that memory is bounded."""
        users, size = np.arange(len(ranking.items)), USERS_AT_ONCE
        parts = (ranking.take(users[start : start + size]) for start in range(0, len(users), size))
        return np.concatenate([np.zeros(0), *(self.block_values(part, k) for part in parts)])

    @cached_property
    def has_vector(self) -> NDArray[np.bool_]:
        """Whether the vector of each item row has length 1 and not 0, [N + 1]."""
        return np.append(False, abs(self.vectors()).sum(axis=1) > 0)

    @abstractmethod
    def block_values(self, ranking: Ranking, k: int) -> Floats:
        """Return the value of each user of a block [B]."""

    def vector_sums(self, ranking: Ranking, queries: np.ndarray, rows: np.ndarray) -> sparse.csr_array:
        """Return the sum of the vectors of the items of each user [B, V]; row 0 is no item.

        The product of two such sums is the sum of the cosines of all pairs.
        """
        vectors, known = self.vectors(), rows > 0
        shape = len(ranking.items), vectors.shape[0]
        chosen = sparse.csr_array((np.ones(known.sum()), (queries[known], rows[known] - 1)), shape)
        return sparse.csr_array(chosen @ vectors)
