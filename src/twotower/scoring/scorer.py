"""Losses that are a function of a positive's logit and its negatives' logits, and nothing else."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from twotower.losses.kernels.blockwise import blockwise_loss
from twotower.losses.kernels.powers import linked
from twotower.losses.loss import Loss, ShownAs
from twotower.negatives.candidates import Candidates


class BlockLoss(Loss, ABC):
    """A loss that states `forward` for a block of logits; autograd differentiates it, block by block.

    Logits are scores over the temperature, where it has one (`Loss.scaled`). A user's own shown negatives are
    further candidates of that user's positives, each drawn once.
    """

    class Config(Loss.Config):
        """Settings of a loss by formula."""

        @property
        def shown(self) -> ShownAs | None:
            """As further candidates of their own user."""
            return "candidates"

        @property
        def takes_prior(self) -> bool:
            """The kernel does."""
            return True

    config: Config

    @abstractmethod
    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Compute the loss of each example.

        Args:
            positive: [b] logits of the positives.
            negatives: [b, C] logits of the negatives, -inf where masked.
            multiplicity: [C] how often each negative was drawn.

        Returns:
            [b]; differentiable with respect to the logits.
        """

    def mean_loss(
        self,
        users: Tensor,
        positives: Tensor,
        items: Tensor,
        candidates: Candidates,
        weights: Tensor,
        own: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted mean loss; see `Loss.mean_loss`."""
        users = self.scaled(users)
        multiplicity, own_logits = candidates.log_count.exp(), None
        if own is not None:
            own_logits = own_logits_of(users, own, candidates)
            multiplicity = torch.cat([multiplicity, multiplicity.new_ones(own.shape[1])])
        return blockwise_loss(
            lambda positive, negatives: self(positive, negatives, multiplicity),
            users,
            items,
            with_prior(logits_of(users, positives), candidates),
            torch.zeros_like(candidates.log_count),
            candidates.masked_positives,
            candidates.masked_candidates,
            weights,
            own_logits,
            candidates.prior,
            parameters=[each for each in self.parameters() if each.requires_grad],
        )


def logits_of(users: Tensor, items: Tensor) -> Tensor:
    """Return the products of pairs, [..., D] x [..., D] -> [...], summed in float32 at least."""
    return (users * items).sum(-1, dtype=torch.promote_types(users.dtype, torch.float32))


def with_prior(positive_logits: Tensor, candidates: Candidates) -> Tensor:
    """Add what is known of the positives [P] beside their scores, if anything is."""
    known = candidates.positive_prior
    return positive_logits if known is None else positive_logits + known


def own_logits_of(users: Tensor, own: Tensor, candidates: Candidates, power: float | None = None) -> Tensor:
    """Return logits [P, O] of each user's own candidates [P, O, D], -inf where there is none."""
    assert candidates.own_rows is not None
    logits = linked(logits_of(users[:, None], own), power)
    if candidates.own_prior is not None:
        logits = logits + candidates.own_prior
    return logits.masked_fill(candidates.own_rows == 0, -torch.inf)


def mean_over_draws(values: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
    """Return the mean of values [b, C] over the draws that are not masked, [b]; 0 without any.

    Args:
        values: one for each negative.
        negatives: [b, C] their logits, -inf where masked.
        multiplicity: [C] how often each was drawn.
    """
    masked = negatives.isneginf()
    draws = ~masked * multiplicity
    return (draws * values.masked_fill(masked, 0)).sum(1) / draws.sum(1).clamp(min=1)
