"""What every loss is given and what it returns."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from twotower.negatives.candidates import Candidates


class Loss(nn.Module, ABC):
    """A scalar from a batch of users, their positives and the candidates they are ranked against.

    Subclasses are written in the order: temperature, log-q correction, masks, formula.
    """

    @property
    def needs(self) -> frozenset[str]:
        """What it must be given, checked before any data is read; a plain attribute does as well.

        Of the negatives `log_q` (see `Negatives.provides`). Of the towers `unit_vectors`: what both put out
        has length 1; and `no_item_bias`: no column of a bias is joined to it. A loss of cosines needs both.
        """
        return frozenset()

    @abstractmethod
    def forward(
        self, users: Tensor, positives: Tensor, items: Tensor, candidates: Candidates, weights: Tensor
    ) -> Tensor:
        """Compute the weighted mean loss.

        Args:
            users: [P, D] user embeddings.
            positives: [P, D] embedding of each user's positive item.
            items: [C, D] embeddings of the candidates.
            candidates: their rows, probabilities and the pairs that are no negatives.
            weights: [P] weight of each example.
        """
