"""Pairwise ranking: the positive should score above each negative."""

from torch import Tensor
from torch.nn import functional as F

from twotower.model.losses.loss import TemperatureLoss, mean_over_draws


class Bpr(TemperatureLoss):
    """L = mean over drawn negatives of -log sigma(s+ - s_j), s = score / temperature.

    Prefer it for comparison with papers; the softmax gives hard negatives higher weights.
    Reference: Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009, section 4.
    """

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the mean softplus of the differences, [b]."""
        return mean_over_draws(F.softplus(negatives - positive[:, None]), negatives, multiplicity)
