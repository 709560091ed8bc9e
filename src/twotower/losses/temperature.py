"""The temperature that scores are divided by: fixed, or learned within bounds."""

import math

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = 0.01, 10.0


class Temperature(nn.Module):
    """Divide embeddings (and so their scores) by a temperature.

    Args:
        initial: the temperature, or where a learned one starts.
        learned: train its logarithm; it is kept within [0.01, 10], since a free one can run to 0.
    """

    def __init__(self, initial: float, learned: bool) -> None:
        super().__init__()
        logarithm = torch.tensor(math.log(initial))
        self.learned = learned
        self.logarithm = nn.Parameter(logarithm, requires_grad=learned)

    @property
    def value(self) -> Tensor:
        """The temperature as a scalar tensor."""
        return self.logarithm.clamp(math.log(LOWEST), math.log(HIGHEST)).exp()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings over the temperature."""
        return embeddings / self.value
