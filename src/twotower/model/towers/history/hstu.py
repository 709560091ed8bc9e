"""Attention without softmax, with learned biases for the distance of two items in position and time."""

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import DropoutRate, PositiveInt
from twotower.data.sources.source import needs_times
from twotower.model.towers.dropout import Dropout
from twotower.model.towers.history.causal_encoder import CausalEncoder

EPSILON, LOG_STEP, NUM_BUCKETS = 1e-6, 0.301, 128
"""Epsilon of the norms; width of a time bucket in log seconds, and number of buckets."""
BUCKET_STARTS = [math.ceil(math.exp(LOG_STEP * bucket)) for bucket in range(1, NUM_BUCKETS)]
"""The lowest seconds of each bucket but the first."""
LATER = -1e4  # the bias of items after a position, whose silu is 0


class Hstu(CausalEncoder):
    """Blocks x = x + W2 (norm(A v) u) with u, v, q, k = silu(W1 norm(x)) and A = silu(q k + bias) / L.

    The bias of position i for position j is the sum of one parameter for i - j and one for the bucket of the
    time from j to the item after i; after the latest item, to the request. So the embedding depends on the
    time of the request; an unknown time, 0, is replaced by the time of the last item.

    Reference: Zhai et al., Actions Speak Louder than Words, ICML 2024, section 3.2; buckets as in its code.
    """

    class Config(CausalEncoder.Config):
        blocks: Annotated[PositiveInt, Le(64)] = 2
        """Number of blocks."""
        heads: Annotated[PositiveInt, Le(64)] = 1
        """Attention heads per block, each of width H / heads, rounded up."""
        hidden_dropout: DropoutRate = 0.2
        """Dropout rate of the input and of the output of each block, in training."""
        time_bias: bool = True
        """Use the times between items, and to the request."""

        @property
        def reads_request_times(self) -> bool:
            """Whether times are used."""
            return self.time_bias

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse `time_bias` for data without times."""
            yield from super().problems(context)
            if self.time_bias:
                yield from needs_times(context.get("data"), "set history.time_bias=false", "time_bias")

    config: Config

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim)
        self.positions = nn.Parameter(torch.empty(config.length, dim))
        nn.init.normal_(self.positions, std=dim**-0.5)
        self.dropout = Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(HstuBlock(config, dim) for _ in range(config.blocks))

    def encode(self, items: Tensor, times: Tensor) -> Tensor:
        """Run the blocks; see `CausalEncoder.encode`."""
        states: Tensor = self.dropout(items * math.sqrt(self.dim) + self.positions[: items.shape[1]])
        buckets = time_buckets(times) if self.config.time_bias else None
        for block in self.layers:
            states = block(states, buckets)
        return states


def time_buckets(times: Tensor) -> Tensor:
    """Return the bucket of the time from each item to the successor of each item, int32 [B, L, L].

    It is floor(log(max(1, seconds)) / 0.301). The last of the times [B, L + 1] is the request time.
    """
    following = torch.maximum(times[:, 1:], times[:, :-1])
    seconds = following[:, :, None] - times[:, None, :-1]
    starts = torch.tensor(BUCKET_STARTS, device=times.device)
    return torch.bucketize(seconds, starts, right=True, out_int32=True)


class HstuBlock(nn.Module):
    """One block, [B, L, H] -> [B, L, H]."""

    def __init__(self, config: Hstu.Config, dim: int) -> None:
        super().__init__()
        self.heads, self.width, self.scale = config.heads, -(-dim // config.heads), 1 / config.length
        inner = self.heads * self.width
        self.norm, self.output_norm = nn.LayerNorm(dim, eps=EPSILON), nn.LayerNorm(inner, eps=EPSILON)
        self.projections, self.output_projection = nn.Linear(dim, 4 * inner), nn.Linear(inner, dim)
        self.by_distance = nn.Parameter(torch.empty(config.length))
        nn.init.normal_(self.by_distance, std=0.02)
        self.by_bucket: nn.Parameter | None = None
        if config.time_bias:
            self.by_bucket = nn.Parameter(torch.empty(NUM_BUCKETS))
            nn.init.normal_(self.by_bucket, std=0.02)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, states: Tensor, buckets: Tensor | None) -> Tensor:
        """Return the states after the block; for `buckets` see `time_buckets`."""
        size, length, _ = states.shape
        projected = functional.silu(self.projections(self.norm(states)))
        split = projected.view(size, length, 4, self.heads, self.width).permute(2, 0, 3, 1, 4)
        gate, value, query, key = split.unbind(0)
        positions = torch.arange(length, device=states.device)
        distances = positions[:, None] - positions
        bias = self.by_distance[distances].masked_fill(distances < 0, LATER)
        if self.by_bucket is not None and buckets is not None:
            bias = bias + self.by_bucket.index_select(0, buckets.flatten()).view(size, 1, length, length)
        weights = functional.silu(query @ key.transpose(-1, -2) + bias)
        attended = weights.to(value.dtype) @ (value * self.scale)
        gate, attended = (each.transpose(1, 2).reshape(size, length, -1) for each in (gate, attended))
        after: Tensor = states + self.dropout(self.output_projection(self.output_norm(attended) * gate))
        return after
