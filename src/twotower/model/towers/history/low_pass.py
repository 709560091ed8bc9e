"""A causal low-pass filter next to attention."""

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_RATES, MAX_RATE = 8, 2.0
"""Number of channel groups; the largest decay rate per position at the beginning of training."""


class LowPass(nn.Module):
    """y = low + gain (x - low), where low is an exponentially weighted mean of earlier positions and x.

    Position i has weights proportional to exp(-rate (i - j)) for j <= i, which sum to 1. Channels are
    assigned to rates in turn. Rates begin between 0.016 (nearly the mean of all) and 2 (nearly x alone);
    gains, one per channel, begin at 0. Both are learned.

    Reference: Shin et al., An Attentive Inductive Bias for Sequential Recommendation beyond the
    Self-Attention, AAAI 2024, section 4.2; its Fourier filter reads the whole sequence, so that an earlier
    position depends on later ones.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.log_rates = nn.Parameter((MAX_RATE * 0.5 ** torch.arange(NUM_RATES)).log())
        self.gain = nn.Parameter(torch.zeros(dim))

    def forward(self, states: Tensor) -> Tensor:
        """Filter states [B, L, H]."""
        dim, groups = states.shape[2], self.log_rates.shape[0]
        weights = causal_weights(self.log_rates.exp(), states.shape[1]).to(states.dtype)
        padded = functional.pad(states, (0, -dim % groups)).unflatten(2, (-1, groups))
        low = torch.einsum("gij,bjcg->bicg", weights, padded).flatten(2)[..., :dim]
        filtered: Tensor = low + self.gain * (states - low)
        return filtered


def causal_weights(rates: Tensor, length: int) -> Tensor:
    """Return for rates [G] the weights [G, L, L] of each position (row) for itself and earlier ones."""
    positions = torch.arange(length, device=rates.device)
    distances = positions[:, None] - positions
    logits = -rates[:, None, None] * distances.clamp(min=0)
    return torch.softmax(logits.masked_fill(distances < 0, -torch.inf), -1)
