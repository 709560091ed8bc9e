"""Self-attention over a history: each position asks all before it."""

import math
from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.spec import DropoutRate, PositiveInt
from twotower.towers.dropout import Dropout
from twotower.towers.history.causal_attention import causal_attention
from twotower.towers.history.causal_encoder import CausalEncoder

EPSILON = 1e-8
"""Of the norms, as in the reference."""


class Sasrec(CausalEncoder):
    """A Transformer whose positions see only what came before.

    x = sqrt(H) items + positions; in each block x = x + attention(norm(x)), x = x + W2 gelu(W1 norm(x)); the
    summaries are norm(x). Positions count from the first item looked at. Heads share the width evenly,
    rounded up, so that any number of them goes with any width.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018, section III; norms come
    first in each branch, as in Xiong et al., On Layer Normalization in the Transformer Architecture, ICML
    2020.
    """

    class Config(CausalEncoder.Config):
        """The size of a Transformer."""

        blocks: Annotated[PositiveInt, Le(64)] = 2
        """Of attention and a layer of two products each."""
        heads: Annotated[PositiveInt, Le(64)] = 1
        """Of each attention."""
        hidden_dropout: DropoutRate = 0.1
        """Of the inputs, of what attention finds and of what each block adds, while training."""

    config: Config

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim)
        self.positions = nn.Parameter(torch.empty(config.length, dim))
        nn.init.normal_(self.positions, std=dim**-0.5)
        self.dropout = Dropout(config.hidden_dropout)
        self.blocks_of = nn.ModuleList(self.block() for _ in range(config.blocks))
        self.norm = nn.LayerNorm(dim, eps=EPSILON)

    def block(self) -> nn.Module:
        """Build one block, [B, L, H] -> [B, L, H]."""
        return Block(self.dim, self.config.heads, self.config.hidden_dropout)

    def encode(self, items: Tensor, times: Tensor) -> Tensor:
        """Run the blocks; see `CausalEncoder.encode`."""
        states = self.dropout(items * math.sqrt(self.dim) + self.positions[: items.shape[1]])
        for block in self.blocks_of:
            states = block(states)
        summaries: Tensor = self.norm(states)
        return summaries


class Block(nn.Module):
    """Attention, then two products position by position, each added to what it reads.

    Args:
        dim: H.
        heads: of the attention.
        dropout: of what is added.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = (nn.LayerNorm(dim, eps=EPSILON) for _ in range(2))
        self.attention = CausalAttention(dim, heads)
        self.widen, self.narrow = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states after the block."""
        states = states + self.dropout(self.attention(self.attention_norm(states)))
        wide = functional.gelu(self.widen(self.norm(states)))
        found: Tensor = states + self.dropout(self.narrow(wide))
        return found


class CausalAttention(nn.Module):
    """Scaled dot-product attention of every position to itself and those before it.

    Args:
        dim: H.
        heads: share the width evenly, rounded up.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, -(-dim // heads)
        self.asked = nn.Linear(dim, 3 * heads * self.width)
        self.joined = nn.Linear(heads * self.width, dim)

    def forward(self, states: Tensor, of: Tensor | None = None) -> Tensor:
        """Return what each position [B, L, H] finds among the states, or others [B, L, H], [B, L, H]."""
        size, length, _ = states.shape
        if of is None:
            asked = self.asked(states)
        else:
            weight, bias, queries = self.asked.weight, self.asked.bias, self.heads * self.width
            query = functional.linear(states, weight[:queries], bias[:queries])
            asked = torch.cat([query, functional.linear(of, weight[queries:], bias[queries:])], -1)
        split = asked.view(size, length, 3, self.heads, self.width)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        found = causal_attention(query, key, value)
        joined: Tensor = self.joined(found.transpose(1, 2).reshape(size, length, -1))
        return joined
