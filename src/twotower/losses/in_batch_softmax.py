"""Softmax cross-entropy of the positive against the candidates."""

import torch
from torch import Tensor

from twotower.config.spec import PositiveFloat
from twotower.losses.kernels.blockwise import blockwise_loss
from twotower.losses.temperature import TemperatureLoss
from twotower.negatives.candidates import Candidates


class InBatchSoftmax(TemperatureLoss):
    """-log of the positive's share: L = -s+ + log(exp(s+) + sum over negatives of n_j exp(s_j)).

    s = score / temperature - log q, where q is the probability with which the negatives draw the item and
    n_j how often candidate j was drawn. It is named for its best-known candidates, the other positives of
    the batch, and runs on whichever candidates the negatives give; with the whole catalogue it is the exact
    softmax.

    Needs: `log_q` when corrected.
    When to prefer: always first; it ranks the positive against all candidates at once.
    Reference: Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019, section 3.
    """

    class Config(TemperatureLoss.Config):
        """Settings of a softmax."""

        temperature: PositiveFloat = 0.07
        """What scores are divided by, before the correction."""
        log_q_correction: bool = True
        """Subtract log q, without which popular items are pushed down for being drawn often."""

        @property
        def needs(self) -> frozenset[str]:
            """`log_q` when the correction is on."""
            return frozenset({"log_q"} if self.log_q_correction else ())

    config: Config

    def forward(
        self, users: Tensor, positives: Tensor, items: Tensor, candidates: Candidates, weights: Tensor
    ) -> Tensor:
        """Compute the weighted mean cross-entropy; see `Loss.forward`."""
        users = self.temperature(users)
        positive_logits = (users * positives).sum(-1, dtype=torch.promote_types(users.dtype, torch.float32))
        bias = candidates.log_count
        if self.config.log_q_correction:
            positive_logits = positive_logits - candidates.positive_log_q
            bias = bias - candidates.log_q
        return blockwise_loss(
            softmax_block,
            users,
            items,
            positive_logits,
            bias,
            candidates.masked_positives,
            candidates.masked_candidates,
            weights,
        )


def softmax_block(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of a block and its gradients; see `BlockFormula`."""
    peak = torch.maximum(logits.amax(1), positive)
    exponentials = logits.sub_(peak[:, None]).exp_()
    of_positive = (positive - peak).exp()
    total = exponentials.sum(1) + of_positive
    loss = peak + total.log() - positive
    return loss, exponentials.div_(total[:, None]), of_positive / total - 1
