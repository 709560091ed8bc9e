"""What every history encoder is given and what it returns."""

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
    """What was done with the items of histories: embeddings [E + 1, H], row 0 zeros, and rows [B, L]."""

    table: Tensor
    rows: Tensor

    def of(self, positions: slice) -> Tensor:
        """Look up some positions, [B, l, H]."""
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
    """From the embeddings of a user's earlier items, oldest first, to one vector.

    A subclass gives `latest`. One whose summary never looks ahead may give `forward` too, summaries at every
    position, [B, L, H] of what `latest` takes, zeros where nothing is there up to a position: a training on
    whole sequences (`objective=sequence`) asks for them.

    Shapes: B users, L positions right-aligned (the latest item is at -1), H the width of an embedding, P
    examples.

    Args:
        config: see `Config`.
        dim: H.
    """

    class Config(Component.Config):
        """Settings of every history encoder."""

        length: Length = 50
        """L, the latest items looked at."""
        strict: bool = False
        """A training example's history holds only items strictly earlier than its target; without it items of
        the same timestamp that stand before the target in the log are in it too."""
        items: Literal["table", "tower"] = "table"
        """`table` (embeddings of its own) or `tower` (the item tower's outputs, so that new items count)."""
        last_item: bool = True
        """Give the latest item's embedding to the tower as a block of its own."""
        dropout: DropoutRate = 0.0
        """Probability with which an item is left out of a history, while training."""
        events: bool = False
        """Add to each item an embedding of what the user did with it, the data's `event`."""
        sparse: bool = False
        """Give sparse gradients of the table (for large catalogues); the optimizer must take them."""

        def problems(self, data: Source.Config | None = None) -> Iterator[tuple[str, str]]:
            """Refuse events where there are none to tell apart, and sparse gradients of no table."""
            if self.sparse and not self.reads_table:
                yield "sparse", "these histories have no table of their own; set history.sparse=false"
            if self.events and not self.length:
                yield "events", "no item of a history is looked at; set history.events=false"
            elif self.events and data is not None and data.events_of_histories() == []:
                yield (
                    "events",
                    "this data has no events; name them in data.events, or set history.events=false",
                )

        @property
        def reads_table(self) -> bool:
            """Whether it reads a table of its own, which new items are not in."""
            return self.length > 0 and self.items == "table"

        @property
        def gives_sparse_gradients(self) -> bool:
            """Whether the optimizer must take sparse gradients of the table."""
            return self.sparse and self.reads_table

        @property
        def reads_towers(self) -> bool:
            """Whether it reads the item tower's outputs, so that new items count."""
            return self.length > 0 and self.items == "tower"

        @property
        def gives_every_position(self) -> bool:
            """Whether it has `forward`, summaries at every position, none of which looks ahead."""
            kinds = (kind for kind in self.owner.__mro__ if issubclass(kind, HistoryEncoder))
            return any("forward" in vars(kind) for kind in kinds)

        @property
        def reads_request_times(self) -> bool:
            """Whether it is told when it is asked: its `times` are [B, L + 1], the last the request's."""
            return False

        def block_dims(self, dim: int) -> dict[str, int]:
            """Return the names and widths of `HistoryEncoder.blocks`."""
            return {"history": dim} | ({"last_item": dim} if self.last_item else {})

        def build(self, dim: int) -> "HistoryEncoder":
            """Build the encoder, untrained."""
            return self.make(HistoryEncoder, dim)

    config: Config
    is_linear: ClassVar[bool] = False
    """Whether `latest` is linear in the embeddings, so that sums can be summarised part by part."""

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.dim = dim

    @property
    def item_dim(self) -> int:
        """The width of what it reads of an item: H, or 0 where it reads nothing."""
        return self.dim if self.config.length else 0

    @abstractmethod
    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Summarise whole histories.

        Args:
            embeddings: [B, L, H], zeros where masked.
            mask: [B, L] bool, true where there is an item.
            times: [B, L] int64 unix seconds, 0 where masked; [B, L + 1] where `Config.reads_request_times`
                and the request's is known.

        Returns:
            [B, H]; zeros where there is no item.
        """

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Do what `latest` does; subclasses may do without the [B, L, H] in between.

        Args:
            table: [R, H] item embeddings.
            positions: [B, L] rows of the table, 0 = nothing there.
            times: [B, L] int64 unix seconds; anything where there is nothing.
        """
        mask = positions > 0
        return self._latest(functional.embedding(positions, table), mask, times)

    def pool_with_events(
        self, table: Tensor, positions: Tensor, times: Tensor, events: EventEmbeddings
    ) -> Tensor:
        """Do what `pool` does, with an embedding of its event added to each item."""
        there = positions > 0
        if self.is_linear:
            # Two rows of zeros: nothing is there, and an item without an event, which has its weight.
            of_events = functional.pad(events.table[1:], (0, 0, 2, 0))
            of_items = self.pool(table, positions, times)
            return of_items + self.pool(of_events, (events.rows + 1) * there, times)
        embeddings = functional.embedding(positions, table) + events.of(slice(None))
        return self._latest(embeddings, there, times)

    def _latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        return self.latest(embeddings * mask[..., None], mask, self._masked(times, mask))

    def _masked(self, times: Tensor, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        of_items = times[:, :length].masked_fill(~mask, 0)
        return torch.cat([of_items, times[:, length:]], 1) if self.config.reads_request_times else of_items

    def blocks(
        self,
        table: Tensor,
        positions: Tensor,
        times: Tensor,
        events: EventEmbeddings | None = None,
        queries: QueryPositions | None = None,
    ) -> dict[str, Tensor]:
        """Return what the user tower is given: `history` [B, H] and, if wanted, `last_item` [B, H].

        Args:
            table: see `pool`.
            positions: see `pool`.
            times: see `pool`.
            events: what was done with the items, if that is looked at.
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
            return self._blocks_at(queries.positions, table, positions, times, events)
        if events is None:
            found = {"history": self.pool(table, positions, times)}
        else:
            found = {"history": self.pool_with_events(table, positions, times, events)}
        if self.config.last_item:
            last = positions[:, -1]
            item = functional.embedding(last, table)
            if events is not None:
                item = item + events.of(slice(-1, None))[:, 0]
            found["last_item"] = item * (last > 0)[:, None]
        return found

    def _blocks_at(
        self,
        places: Tensor,
        table: Tensor,
        positions: Tensor,
        times: Tensor,
        events: EventEmbeddings | None,
    ) -> dict[str, Tensor]:
        """Return the blocks [P, H] of some positions, all histories summarised at once."""
        there = positions > 0
        embeddings = functional.embedding(positions, table)
        if events is not None:
            embeddings = embeddings + events.of(slice(None))
        embeddings = embeddings * there[..., None]
        found = {"history": self(embeddings, there, self._masked(times, there))}
        if self.config.last_item:
            found["last_item"] = embeddings
        return {name: block.flatten(0, 1).index_select(0, places) for name, block in found.items()}
