"""LiGR: SASRec with a gate at each residual branch."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.model.towers.dropout import Dropout
from twotower.model.towers.history.sasrec import EPSILON, CausalAttention, Sasrec

WIDENED = 4
"""Width of the MLP within a block, in multiples of the embedding dimension."""


class Ligr(Sasrec):
    """x = x + sigmoid(G x) attention(norm(x)), x = x + sigmoid(G' x) swiglu(norm(x)).

    Reference: Borisyuk et al., From Features to Transformers: Redefining Ranking for Scalable Impact, 2025,
    section 3.1, for the gates; with the SwiGLU layer of eSASRec (Tikhonovich et al., RecSys 2025,
    section 3).
    """

    def block(self) -> nn.Module:
        """Build one block; see `Sasrec.block`."""
        return GatedBlock(self.dim, self.config.heads, self.config.hidden_dropout)


class GatedBlock(nn.Module):
    """Causal attention, then a SwiGLU layer at each position, each multiplied by a gate of the state."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = (nn.LayerNorm(dim, eps=EPSILON) for _ in range(2))
        self.attention = CausalAttention(dim, heads)
        self.attention_gate, self.gate = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 2 * WIDENED * dim), nn.Linear(WIDENED * dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, L, H] after the block."""
        branch = self.dropout(self.attention(self.attention_norm(states)))
        states = states + torch.sigmoid(self.attention_gate(states)) * branch
        left, right = self.widen(self.norm(states)).chunk(2, -1)
        branch = self.dropout(self.narrow(functional.silu(left) * right))
        gated: Tensor = states + torch.sigmoid(self.gate(states)) * branch
        return gated
