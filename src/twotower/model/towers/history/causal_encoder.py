"""The base class of causal encoders, which summarize a history at each position."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.spec import PositiveInt
from twotower.model.towers.history.history_encoder import HistoryEncoder


class CausalEncoder(HistoryEncoder, ABC):
    """Left-aligns histories, encodes them and selects the requested positions.

    A subclass implements `encode`. Padding after the end of a history needs no mask, since no earlier
    position depends on it. Items that dropout removes leave no gap, so that the result does not depend on
    the padding.
    """

    class Config(HistoryEncoder.Config):
        members: PositiveInt = 1
        """Number of encoders that divide the columns of the embeddings among them. Each has a loss of its own
        in training; the score of an item is the mean of theirs."""

        @property
        def num_members(self) -> int:
            """See `members`."""
            return self.members

        def build(self, dim: int) -> HistoryEncoder:
            """Build the encoder, or an ensemble of encoders."""
            return super().build(dim) if self.members == 1 else Ensemble(self, dim)

    config: Config

    @abstractmethod
    def encode(self, items: Tensor, times: Tensor) -> Tensor:
        """Summarize the history up to every position.

        Args:
            items: [B, L, H] left-aligned, zeros after the end of a history.
            times: [B, L] int64 unix seconds; with `Config.reads_request_times` [B, L + 1], with the time of
                the request after the time of the last item.

        Returns:
            [B, L, H]; no position depends on later ones. Values after the end of a history are ignored.
        """

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the summary of the whole history; see `HistoryEncoder.latest`."""
        encoded = self.encode(*self._left_aligned(embeddings, mask, times))
        return _after(mask.sum(1, keepdim=True), encoded)[:, 0]

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the summary up to every position, [B, L, H]; see `HistoryEncoder`."""
        encoded = self.encode(*self._left_aligned(embeddings, mask, times))
        return encoded if _is_full(mask) else _after(mask.cumsum(1), encoded)

    def _left_aligned(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        if _is_full(mask):
            return embeddings, times
        order, length = _items_first(mask), mask.shape[1]
        moved = times[:, :length].gather(1, order)
        if self.config.reads_request_times:  # after the last item
            counts = mask.sum(1, keepdim=True)
            moved = functional.pad(moved, (0, 1)).scatter(1, counts, times[:, length:])
        return _rows(embeddings, order), moved


class Ensemble(CausalEncoder):
    """Several encoders with equal settings, each for its part of the columns.

    Member m reads sqrt(M) x[m] and returns y[m] / sqrt(M), so that the dot product of whole embeddings is the
    mean of the dot products of the members.
    """

    def __init__(self, config: CausalEncoder.Config, dim: int) -> None:
        super().__init__(config, dim)
        num_members, width = config.members, dim // config.members
        self.encoders = nn.ModuleList(config.make(CausalEncoder, width) for _ in range(num_members))
        self.scale: float = num_members**0.5

    def encode(self, items: Tensor, times: Tensor) -> Tensor:
        """Encode with each member; see `CausalEncoder.encode`."""
        parts = (items * self.scale).tensor_split(len(self.encoders), -1)
        members = cast("Sequence[CausalEncoder]", self.encoders)
        encoded = [member.encode(part, times) for member, part in zip(members, parts, strict=True)]
        return torch.cat(encoded, -1) / self.scale


def _is_full(mask: Tensor) -> bool:
    """Return whether there is no padding; False in a traced graph, which supports any padding."""
    return not torch.compiler.is_compiling() and bool(mask.all())


def _items_first(mask: Tensor) -> Tensor:
    """Return the positions [B, L] of the items, then the positions of the padding, both in order.

    By scattering, because ONNX has no stable sort.
    """
    absent = ~mask
    targets = torch.where(mask, mask.cumsum(1), mask.sum(1, keepdim=True) + absent.cumsum(1)) - 1
    positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    return torch.zeros_like(targets).scatter(1, targets, positions)


def _after(counts: Tensor, encoded: Tensor) -> Tensor:
    """Return the summaries [B, l, H] of the first `counts` [B, l] items, zeros for none."""
    return _rows(encoded, (counts - 1).clamp(min=0)) * (counts > 0)[..., None]


def _rows(values: Tensor, positions: Tensor) -> Tensor:
    """Return [B, l, H], from each of values [B, L, H] the positions [B, l]."""
    size, length, dim = values.shape
    starts = torch.arange(size, device=positions.device)[:, None] * length
    chosen = values.flatten(0, 1).index_select(0, (positions + starts).flatten())
    return chosen.view(size, positions.shape[1], dim)
