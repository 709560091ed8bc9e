"""SASRec: causal self-attention over a history."""

import math
from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.spec import DropoutRate, Fraction, PositiveInt
from twotower.model.towers.dropout import Dropout
from twotower.model.towers.history.causal_encoder import CausalEncoder
from twotower.model.towers.history.low_pass import LowPass

EPSILON = 1e-8
"""Of the norms, as in the reference."""


class Sasrec(CausalEncoder):
    """A Transformer whose positions attend to earlier positions only.

    x = sqrt(H) items + positions; in each block x = x + attention(norm(x)), x = x + W2 gelu(W1 norm(x)); the
    summaries are norm(x). Positions count from the first item of the history. The width of a head is the
    embedding dimension over the number of heads, rounded up.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018, section III; norms come
    first in each branch, as in Xiong et al., On Layer Normalization in the Transformer Architecture, ICML
    2020.
    """

    class Config(CausalEncoder.Config):
        blocks: Annotated[PositiveInt, Le(64)] = 2
        """Number of blocks, each of attention and an MLP."""
        heads: Annotated[PositiveInt, Le(64)] = 1
        """Attention heads per block."""
        hidden_dropout: DropoutRate = 0.1
        """Dropout rate of the input and of the output of each branch, in training."""
        low_pass: Fraction = 0.0
        """Share of a causal low-pass filter in the attention branch; 0: attention alone."""

    config: Config

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim)
        self.positions = nn.Parameter(torch.empty(config.length, dim))
        nn.init.normal_(self.positions, std=dim**-0.5)
        self.dropout = Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(self.block() for _ in range(config.blocks))
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        if config.low_pass > 0:
            for block in self.layers:
                block.attention = FilteredAttention(block.get_submodule("attention"), dim, config.low_pass)

    def block(self) -> nn.Module:
        """Build one block, [B, L, H] -> [B, L, H]."""
        return Block(self.dim, self.config.heads, self.config.hidden_dropout)

    def encode(self, items: Tensor, times: Tensor) -> Tensor:
        """Run the blocks; see `CausalEncoder.encode`."""
        states = self.dropout(items * math.sqrt(self.dim) + self.positions[: items.shape[1]])
        for block in self.layers:
            states = block(states)
        summaries: Tensor = self.norm(states)
        return summaries


class Block(nn.Module):
    """Causal attention, then an MLP at each position, each in a residual branch with dropout at its end."""

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
        output: Tensor = states + self.dropout(self.narrow(wide))
        return output


class CausalAttention(nn.Module):
    """Attention of every position to itself and earlier positions; a head is H / heads wide, rounded up."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, -(-dim // heads)
        self.query_key_value = nn.Linear(dim, 3 * heads * self.width)
        self.projection = nn.Linear(heads * self.width, dim)

    def forward(self, states: Tensor, keys: Tensor | None = None) -> Tensor:
        """Attend from states [B, L, H] to themselves, or to `keys` [B, L, H]; returns [B, L, H]."""
        size, length, _ = states.shape
        if keys is None:
            projected = self.query_key_value(states)
        else:
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            queries = self.heads * self.width
            query = functional.linear(states, weight[:queries], bias[:queries])
            projected = torch.cat([query, functional.linear(keys, weight[queries:], bias[queries:])], -1)
        split = projected.view(size, length, 3, self.heads, self.width)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = causal_attention(query, key, value)
        output: Tensor = self.projection(attended.transpose(1, 2).reshape(size, length, -1))
        return output


class FilteredAttention(nn.Module):
    """share * low_pass(states) + (1 - share) * attention(states, keys)."""

    def __init__(self, attention: nn.Module, dim: int, share: float) -> None:
        super().__init__()
        self.attention, self.low_pass, self.share = attention, LowPass(dim), share

    def forward(self, states: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return the mixture [B, L, H]; see `CausalAttention.forward`."""
        attended: Tensor = self.attention(states, keys)
        filtered = self.low_pass(states).to(attended.dtype)  # in mixed precision they differ
        return torch.lerp(attended, filtered, self.share)


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Let every position attend to itself and earlier positions; all [B, heads, L, width]."""
    trains = torch.is_grad_enabled() and query.requires_grad
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or not trains:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    # torch's fused backward pass is slow in bf16 on a CPU.
    length, scale = query.shape[2], query.shape[3] ** -0.5
    mask = torch.full((length, length), -torch.inf, dtype=query.dtype).triu(1)
    return torch.softmax(query * scale @ key.transpose(2, 3) + mask, -1) @ value
