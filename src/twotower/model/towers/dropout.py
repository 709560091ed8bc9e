"""Dropout with four 16-bit draws from each 64-bit random number."""

import torch
from torch import Tensor, nn

LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """Zero each value with probability `p` in training, and divide the remaining values by 1 - p.

    `p` is rounded down to a multiple of 2^-16. On a CPU several times faster than `nn.Dropout`.

    Reference: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, JMLR
    2014.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape."""
        if not self.training or values.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(values)
        threshold = int(self.p * LEVELS)
        if not threshold or not values.numel():
            return values
        bits = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        draws = bits.view(torch.int16)[: values.numel()].view(values.shape)
        kept = draws >= threshold - LEVELS // 2
        return values * kept.to(values.dtype).mul_(LEVELS / (LEVELS - threshold))
