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
        """What the negatives must provide (`Negatives.provides`); checked before any data is read."""
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
