"""The temperature that scores are divided by: fixed, or learned within bounds."""

import math

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = 0.01, 10.0


class Temperature(nn.Module):
    """Divides embeddings, and so their scores, by a temperature.

    Args:
        initial: the temperature, or the initial value of a learned one.
        learned: train the logarithm. It is clamped to [0.01, 10], extended to `initial`: an unbounded
            temperature can run to 0.
    """

    def __init__(self, initial: float, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        self.lowest, self.highest = math.log(min(LOWEST, initial)), math.log(max(HIGHEST, initial))
        self.logarithm = nn.Parameter(torch.tensor(math.log(initial)), requires_grad=learned)

    @property
    def value(self) -> Tensor:
        """The temperature as a scalar tensor."""
        return self.logarithm.exp()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings over the temperature."""
        if self.learned:
            with torch.no_grad():  # the parameter: a clamped value has no gradient
                self.logarithm.clamp_(self.lowest, self.highest)
        return embeddings / self.value
