"""The Transformer of `sasrec` with gates at what each branch adds."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.towers.dropout import Dropout
from twotower.towers.history.sasrec import EPSILON, CausalAttention, Sasrec

WIDENED = 4
"""Times the width of an embedding, within a block."""


class Ligr(Sasrec):
    """x = x + sigmoid(G x) attention(norm(x)), x = x + sigmoid(G' x) swiglu(norm(x)).

    Reference: Borisyuk et al., From Features to Transformers: Redefining Ranking for Scalable Impact, 2025,
    section 3.1, for the gates; with the product of two layers as in eSASRec (Tikhonovich et al., RecSys 2025,
    section 3).
    """

    def block(self) -> nn.Module:
        """Build one block; see `Sasrec.block`."""
        return GatedBlock(self.dim, self.config.heads, self.config.hidden_dropout)


class GatedBlock(nn.Module):
    """Attention, then a layer position by position, each weighed by a gate that reads the state.

    Args:
        dim: H.
        heads: of the attention.
        dropout: of what is added.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = (nn.LayerNorm(dim, eps=EPSILON) for _ in range(2))
        self.attention = CausalAttention(dim, heads)
        self.attention_gate, self.gate = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 2 * WIDENED * dim), nn.Linear(WIDENED * dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, L, H] after the block."""
        found = self.dropout(self.attention(self.attention_norm(states)))
        states = states + torch.sigmoid(self.attention_gate(states)) * found
        left, right = self.widen(self.norm(states)).chunk(2, -1)
        found = self.dropout(self.narrow(functional.silu(left) * right))
        gated: Tensor = states + torch.sigmoid(self.gate(states)) * found
        return gated
