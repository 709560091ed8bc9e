"""The base class of history encoders."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.component import Component
from twotower.config.spec import DropoutRate, Length
from twotower.data.sources.source import Source


class EventEmbeddings(NamedTuple):
    """Embeddings of event types [E + 1, H], row 0 zeros, and the event rows [B, L] of histories."""

    table: Tensor
    rows: Tensor


class QueryPositions(NamedTuple):
    """The history positions at which examples query, and the request times of the histories."""

    positions: Tensor | None
    """[P] flat positions among the B * L of histories that examples share; None: the last of each history."""
    request_times: Tensor
    """[B] int64 unix seconds, of the latest query of each history."""

    def to(self, device: torch.device) -> "QueryPositions":
        """Return the positions on a device."""
        positions = None if self.positions is None else self.positions.to(device)
        return QueryPositions(positions, self.request_times.to(device))


class HistoryEncoder(Component, nn.Module, ABC):
    """Encodes the item embeddings of a history, oldest first, as one vector.

    A subclass implements `latest`. A causal encoder may implement `forward` too, which has the arguments of
    `latest` and returns the summary up to every position, [B, L, H], zeros before the first item.
    `objective=sequence` requires it.

    Shapes: B users, L positions, right-aligned (the latest item is at -1), H embedding, P examples.

    Args:
        config: see `Config`.
        dim: H.
    """

    class Config(Component.Config):
        """Settings of every history encoder."""

        length: Length = 50
        """L, the number of latest items in a history."""
        strict: bool = False
        """The history of a training example has only items strictly earlier than its target; otherwise also
        items with the same timestamp that precede the target in the log."""
        items: Literal["table", "tower"] = "table"
        """`table` (a separate embedding table) or `tower` (outputs of the item tower, with new items)."""
        last_item: bool = True
        """Pass the embedding of the latest item to the user tower as a separate block."""
        dropout: DropoutRate = 0.0
        """Probability that an item is removed from a history, in training."""
        events: bool = False
        """Add an embedding of the event type (`data.events`) to each item."""
        sparse: bool = False
        """Sparse gradients of the table, for large catalogues; the optimizer must support them."""

        def problems(self, data: Source.Config | None = None) -> Iterator[tuple[str, str]]:
            """Refuse events without event types, and sparse gradients without a table."""
            if self.sparse and not self.reads_table:
                yield "sparse", "this history has no embedding table; set history.sparse=false"
            if self.events and not self.length:
                yield "events", "history.length is 0; set history.events=false"
            elif self.events and data is not None and data.events_of_histories() == []:
                text = "this data has no events; name them in data.events, or set history.events=false"
                yield "events", text

        @property
        def reads_table(self) -> bool:
            """Whether a separate table is read, which has no new items."""
            return self.length > 0 and self.items == "table"

        @property
        def gives_sparse_gradients(self) -> bool:
            """Whether the gradient of the table is sparse."""
            return self.sparse and self.reads_table

        @property
        def reads_towers(self) -> bool:
            """Whether outputs of the item tower are read, which include new items."""
            return self.length > 0 and self.items == "tower"

        @property
        def gives_every_position(self) -> bool:
            """Whether the encoder implements `forward`, the summary up to every position."""
            kinds = (kind for kind in self.owner.__mro__ if issubclass(kind, HistoryEncoder))
            return any("forward" in vars(kind) for kind in kinds)

        @property
        def reads_request_times(self) -> bool:
            """Whether `times` are [B, L + 1], with the time of the request at the end."""
            return False

        def block_dims(self, dim: int) -> dict[str, int]:
            """Return the names and widths of `HistoryEncoder.tower_blocks`."""
            return {"history": dim} | ({"last_item": dim} if self.last_item else {})

        def build(self, dim: int) -> "HistoryEncoder":
            """Build the encoder, untrained."""
            return self.make(HistoryEncoder, dim)

    config: Config
    is_linear: ClassVar[bool] = False
    """Whether `latest` is linear in the embeddings, so that a sum can be encoded term by term."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config)
        self.dim = dim

    @property
    def item_dim(self) -> int:
        """The width of the item embeddings that are read: H, or 0 if none are."""
        return self.dim if self.config.length else 0

    @abstractmethod
    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Summarize whole histories.

        Args:
            embeddings: [B, L, H], zeros where masked.
            mask: [B, L] bool, true at items.
            times: [B, L] int64 unix seconds, 0 where masked; [B, L + 1] with `Config.reads_request_times`,
                if the time of the request is known.

        Returns:
            [B, H]; zeros for an empty history.
        """

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Compute `latest` from a table; subclasses may avoid the gathered [B, L, H].

        Args:
            table: [R, H] item embeddings.
            positions: [B, L] rows of the table, 0 = padding.
            times: [B, L] int64 unix seconds; ignored at padding.
        """
        embeddings, mask = _gather(table, positions, None), positions > 0
        return self.latest(embeddings, mask, self._masked(times, mask))

    def _masked(self, times: Tensor, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        of_items = times[:, :length].masked_fill(~mask, 0)
        return torch.cat([of_items, times[:, length:]], 1) if self.config.reads_request_times else of_items

    def tower_blocks(
        self,
        table: Tensor,
        positions: Tensor,
        times: Tensor,
        events: EventEmbeddings | None = None,
        queries: QueryPositions | None = None,
    ) -> dict[str, Tensor]:
        """Return the blocks of the user tower: `history` [B, H] and, with `last_item`, `last_item` [B, H].

        `table`, `positions` and `times` are those of `pool`. With `queries.positions` the blocks are [P, H],
        and each history is encoded once; without `queries` the request times are not known.
        """
        if self.training and self.config.dropout > 0:
            kept = torch.rand(positions.shape, device=positions.device) >= self.config.dropout
            positions = positions * kept
        if queries is not None and self.config.reads_request_times:
            times = torch.cat([times, queries.request_times[:, None]], 1)
        mask = positions > 0
        if queries is not None and queries.positions is not None:
            embeddings = _gather(table, positions, events)
            blocks = {"history": self(embeddings, mask, self._masked(times, mask))}
            if self.config.last_item:
                blocks["last_item"] = embeddings
            chosen = queries.positions
            return {name: block.flatten(0, 1).index_select(0, chosen) for name, block in blocks.items()}
        if events is None:
            blocks = {"history": self.pool(table, positions, times)}
        elif self.is_linear:
            # Two rows of zeros: padding, and an item without an event type, which has a weight.
            of_events = functional.pad(events.table[1:], (0, 0, 2, 0))
            pooled = self.pool(table, positions, times)
            blocks = {"history": pooled + self.pool(of_events, (events.rows + 1) * mask, times)}
        else:
            embeddings = _gather(table, positions, events)
            blocks = {"history": self.latest(embeddings, mask, self._masked(times, mask))}
        if self.config.last_item:
            last = None if events is None else EventEmbeddings(events.table, events.rows[:, -1:])
            blocks["last_item"] = _gather(table, positions[:, -1:], last)[:, 0]
        return blocks


def _gather(table: Tensor, positions: Tensor, events: EventEmbeddings | None) -> Tensor:
    """Return the embeddings of items [B, l, H], with those of their event types; zeros at padding."""
    embeddings = functional.embedding(positions, table)
    if events is not None:
        embeddings = embeddings + functional.embedding(events.rows, events.table, padding_idx=0)
    return embeddings * (positions > 0)[..., None]
