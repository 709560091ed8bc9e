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

    def of(self, positions: slice) -> Tensor:
        """Return the embeddings at some positions, [B, l, H]."""
        return functional.embedding(self.rows[:, positions], self.table, padding_idx=0)


class QueryPositions(NamedTuple):
    """The history positions at which examples query, and the request times of the histories.

    Attributes:
        positions: [P] flat positions among the B * L of histories that examples share; None: the last
            position of each history.
        request_times: [B] int64 unix seconds, of the latest query of each history.
    """

    positions: Tensor | None
    request_times: Tensor

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
                yield (
                    "events",
                    "this data has no events; name them in data.events, or set history.events=false",
                )

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
        super().__init__()
        self.config = config
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
        mask = positions > 0
        return self._latest(functional.embedding(positions, table), mask, times)

    def pool_with_events(
        self, table: Tensor, positions: Tensor, times: Tensor, events: EventEmbeddings
    ) -> Tensor:
        """Compute `pool` with the embedding of the event type added to each item."""
        mask = positions > 0
        if self.is_linear:
            # Two rows of zeros: padding, and an item without an event type, which has a weight.
            of_events = functional.pad(events.table[1:], (0, 0, 2, 0))
            of_items = self.pool(table, positions, times)
            return of_items + self.pool(of_events, (events.rows + 1) * mask, times)
        embeddings = functional.embedding(positions, table) + events.of(slice(None))
        return self._latest(embeddings, mask, times)

    def _latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        return self.latest(embeddings * mask[..., None], mask, self._masked(times, mask))

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

        Args:
            table: see `pool`.
            positions: see `pool`.
            times: see `pool`.
            events: event types of the items; None: not used.
            queries: positions and request times, the blocks are then [P, H]; None: the last position of
                each history, without a request time.
        """
        if self.training and self.config.dropout > 0:
            positions = positions * (
                torch.rand(positions.shape, device=positions.device) >= self.config.dropout
            )
        if queries is not None and self.config.reads_request_times:
            times = torch.cat([times, queries.request_times[:, None]], 1)
        if queries is not None and queries.positions is not None:
            return self._tower_blocks_at(queries.positions, table, positions, times, events)
        if events is None:
            blocks = {"history": self.pool(table, positions, times)}
        else:
            blocks = {"history": self.pool_with_events(table, positions, times, events)}
        if self.config.last_item:
            last = positions[:, -1]
            item = functional.embedding(last, table)
            if events is not None:
                item = item + events.of(slice(-1, None))[:, 0]
            blocks["last_item"] = item * (last > 0)[:, None]
        return blocks

    def _tower_blocks_at(
        self,
        query_positions: Tensor,
        table: Tensor,
        positions: Tensor,
        times: Tensor,
        events: EventEmbeddings | None,
    ) -> dict[str, Tensor]:
        """Return the blocks [P, H] of some positions, encoding each history once."""
        mask = positions > 0
        embeddings = functional.embedding(positions, table)
        if events is not None:
            embeddings = embeddings + events.of(slice(None))
        embeddings = embeddings * mask[..., None]
        blocks = {"history": self(embeddings, mask, self._masked(times, mask))}
        if self.config.last_item:
            blocks["last_item"] = embeddings
        return {name: block.flatten(0, 1).index_select(0, query_positions) for name, block in blocks.items()}
