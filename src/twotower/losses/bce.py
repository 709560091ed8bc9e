"""Binary cross-entropy: the positive is a yes; each negative, sampled or shown, a no."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import PositiveFloat
from twotower.losses.block_loss import BlockLoss, logits_of
from twotower.losses.kernels.blockwise import BlockFormula
from twotower.losses.loss import ShownAs
from twotower.losses.temperature import TemperatureLoss
from twotower.negatives.candidates import Candidates


class Bce(BlockLoss, TemperatureLoss):
    """L = -log sigma(s+) - w * (mean over drawn negatives of log(1 - sigma(s_j))), s = score / temperature.

    A shown negative is an example of its own, -log(1 - sigma(s)): with these alone it is the cross-entropy of
    click labels.

    When to prefer: when scores should read as probabilities; for ranking the softmax is better.
    Reference: He et al., Neural Collaborative Filtering, WWW 2017, section 3.1.
    """

    class Config(BlockLoss.Config, TemperatureLoss.Config):
        """Settings of a binary cross-entropy."""

        negative_weight: PositiveFloat = 1.0
        """w, the weight of all sampled negatives together against the one positive."""

        @property
        def shown(self) -> ShownAs:
            """As examples with the label 0."""
            return "examples"

    config: Config

    def formula(self, counts: Tensor, candidates: Candidates) -> BlockFormula:
        """Return `bce_block`; see `BlockLoss.formula`."""

        def block(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return bce_block(logits, positive, counts, self.config.negative_weight)

        return block

    def of_shown(self, users: Tensor, items: Tensor) -> Tensor:
        """Return log(1 + exp(s)) of each shown negative, [S]; see `Loss.of_shown`."""
        return F.softplus(logits_of(self.scaled(users), items))


def bce_block(
    logits: Tensor, positive: Tensor, count: Tensor, negative_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Binary cross-entropy of a block and its gradients; masked logits are -inf. See `BlockFormula`.

    Args:
        logits: [b, C].
        positive: [b].
        count: [C] how often each candidate was drawn.
        negative_weight: weight of the mean over negatives.
    """
    drawn = (~logits.isneginf() * count).sum(1).clamp(min=1)
    share = negative_weight * count / drawn[:, None]
    loss = F.softplus(-positive) + (share * F.softplus(logits)).sum(1)
    return loss, logits.sigmoid_().mul_(share), positive.sigmoid() - 1
