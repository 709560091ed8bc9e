"""The items that the positives of a batch are scored against."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Negatives:
    """Distinct items with their sampling probabilities, and optionally items of one positive each.

    Attributes:
        rows: [C] item rows, each once.
        log_multiplicity: [C] log of the number of draws of each item.
        log_q: [C] log probability of the item in one draw.
        positive_log_q: [P] the same of each positive.
        num_draws: draws with q in total; None: nothing is random, each item is present for certain.
        query_rows: [P, H] query negatives: item rows that only this positive is scored against, 0 = none.
        query_log_q: [P, H] their log q. Both None where no positive has any.
        embeddings: [E, D] of the last E rows, used as constants; the item tower encodes the others.
    """

    rows: Tensor
    log_multiplicity: Tensor
    log_q: Tensor
    positive_log_q: Tensor
    num_draws: int | None = None
    query_rows: Tensor | None = None
    query_log_q: Tensor | None = None
    embeddings: Tensor | None = None

    @property
    def num_encoded(self) -> int:
        """The number of rows, from the first, that the item tower encodes."""
        return len(self.rows) - (0 if self.embeddings is None else len(self.embeddings))

    @classmethod
    def none(cls, positives: Tensor) -> "Negatives":
        """Return no negatives of positives [P]."""
        zeros = torch.zeros(len(positives), device=positives.device)
        return cls(positives[:0], zeros[:0], zeros[:0], zeros)
