"""The base class of causal encoders, which summarize a history at each position."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from twotower.towers.history.history_encoder import HistoryEncoder


class CausalEncoder(HistoryEncoder, ABC):
    """Left-aligns histories, encodes them and selects the requested positions.

    A subclass implements `encode`. Padding after the end of a history needs no mask, since no earlier
    position depends on it. Items that dropout removes leave no gap, so that the result does not depend on
    the padding.
    """

    @abstractmethod
    def encode(self, items: Tensor, times: Tensor) -> Tensor:
        """Summarize the history up to every position.

        Args:
            items: [B, L, H] left-aligned, zeros after the end of a history.
            times: [B, L] int64 unix seconds; with `Config.reads_request_times` [B, L + 1], with the time of
                the request after that of the last item.

        Returns:
            [B, L, H]; no position depends on later ones. Values after the end of a history are ignored.
        """

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the summary of the whole history; see `HistoryEncoder.latest`."""
        encoded = self.encode(*self._left_aligned(embeddings, mask, times))
        counts = mask.sum(1)
        last = (counts - 1).clamp(min=0)[:, None, None].expand(-1, 1, encoded.shape[2])
        return encoded.gather(1, last)[:, 0] * (counts > 0)[:, None]

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the summary up to every position, [B, L, H]; see `HistoryEncoder`."""
        encoded = self.encode(*self._left_aligned(embeddings, mask, times))
        if _is_full(mask):
            return encoded
        counts = mask.cumsum(1)
        return _rows(encoded, (counts - 1).clamp(min=0)) * (counts > 0)[..., None]

    def _left_aligned(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        length = mask.shape[1]
        if self.config.reads_request_times and times.shape[1] == length:  # the request time is unknown
            times = torch.cat([times, times.amax(1, keepdim=True)], 1)
        if _is_full(mask):
            return embeddings, times
        order = _items_first(mask)
        moved = times[:, :length].gather(1, order)
        if self.config.reads_request_times:  # after the last item
            counts = mask.sum(1, keepdim=True)
            moved = torch.cat([moved, torch.zeros_like(moved[:, :1])], 1)
            is_request = torch.arange(length + 1, device=counts.device) == counts
            moved = torch.where(is_request, times[:, length:], moved)
        return _rows(embeddings, order), moved


def _is_full(mask: Tensor) -> bool:
    """Return whether there is no padding; False in a traced graph, which supports any padding."""
    return not torch.compiler.is_compiling() and bool(mask.all())


def _items_first(mask: Tensor) -> Tensor:
    """Return the positions [B, L] of the items, then those of the padding, both in order.

    By scattering, because ONNX has no stable sort.
    """
    absent = ~mask
    targets = torch.where(mask, mask.cumsum(1), mask.sum(1, keepdim=True) + absent.cumsum(1)) - 1
    positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    return torch.zeros_like(targets).scatter(1, targets, positions)


def _rows(values: Tensor, positions: Tensor) -> Tensor:
    """Return [B, L, H], from each of B the positions [B, L]."""
    size, length, _ = values.shape
    starts = torch.arange(size, device=positions.device)[:, None] * length
    return values.flatten(0, 1).index_select(0, (positions + starts).flatten()).view_as(values)
