"""The temperature that scores are divided by: fixed, or learned within bounds."""

import math

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = 0.01, 10.0


class Temperature(nn.Module):
    """Divide embeddings (and so their scores) by a temperature.

    Args:
        initial: the temperature, or where a learned one starts.
        learned: train its logarithm; it is kept within [0.01, 10] (or its start), since a free one can run
            to 0.
    """

    def __init__(self, initial: float, learned: bool) -> None:
        super().__init__()
        logarithm = torch.tensor(math.log(initial))
        self.learned = learned
        self.lowest, self.highest = math.log(min(LOWEST, initial)), math.log(max(HIGHEST, initial))
        self.logarithm = nn.Parameter(logarithm, requires_grad=learned)

    @property
    def value(self) -> Tensor:
        """The temperature as a scalar tensor."""
        return self.logarithm.exp()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings over the temperature."""
        if self.learned:
            with torch.no_grad():  # the parameter itself: one beyond a clamp has no gradient to come back by
                self.logarithm.clamp_(self.lowest, self.highest)
        return embeddings / self.value
