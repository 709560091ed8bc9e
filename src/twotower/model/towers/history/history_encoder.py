"""The base class of history encoders."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.spec import DropoutRate, Length
from twotower.data.sources.source import Source
from twotower.model.towers.user_batch import UserBatch


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

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse events without event types, and sparse gradients without a table."""
            data: Source.Config | None = context.get("data")
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
            assert issubclass(self.owner, HistoryEncoder)
            return self.owner.forward is not nn.Module.forward

        @property
        def reads_request_times(self) -> bool:
            """Whether `times` are [B, L + 1], with the time of the request at the end."""
            return False

        @property
        def num_members(self) -> int:
            """The number of encoders with a loss of their own; see `CausalEncoder.Config.members`."""
            return 1

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
            times: [B, L] int64 unix seconds, 0 where masked; with `Config.reads_request_times` [B, L + 1],
                with the time of the request at the end.

        Returns:
            [B, H]; zeros for an empty history.
        """

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Compute `latest` from a table; subclasses may avoid the gathered [B, L, H].

        Args:
            table: [R, H] item embeddings.
            positions: [B, L] rows of the table, 0 = padding.
            times: see `latest`.
        """
        mask = positions > 0
        return self.latest(functional.embedding(positions, table) * mask[..., None], mask, times)

    def tower_blocks(
        self,
        table: Tensor,
        batch: UserBatch,
        event_table: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the blocks of the user tower: `history` [B, H] and, with `last_item`, `last_item` [B, H].

        Args:
            table: [R, H] item embeddings; `batch.history_rows` are rows of it.
            batch: users; histories that users share are encoded once.
            event_table: [E + 1, H] embeddings of event types, row 0 zeros; None: events are not read.
        """
        if not self.config.block_dims(self.dim):
            return {}
        positions, events = batch.history_rows, batch.history_events
        if self.training and self.config.dropout > 0:
            kept = torch.rand(positions.shape, device=positions.device) >= self.config.dropout
            positions = positions * kept
        mask = positions > 0
        times = batch.history_times.masked_fill(~mask, 0)
        if self.config.reads_request_times:
            requests = batch.request_times if batch.latest_requests is None else batch.latest_requests
            times = torch.cat([times, requests[:, None]], 1)

        def gather(last: int) -> Tensor:
            """Return the embeddings of the last items [B, last, H], including their event embeddings."""
            embeddings = functional.embedding(positions[:, -last:], table)
            if event_table is not None and events is not None:
                of_events = functional.embedding(events[:, -last:], event_table, padding_idx=0)
                embeddings = embeddings + of_events
            return embeddings * mask[:, -last:, None]

        if batch.query_positions is not None:
            embeddings = gather(mask.shape[1])
            summaries = {"history": self(embeddings, mask, times), "last_item": embeddings}
            return {
                name: summaries[name].flatten(0, 1).index_select(0, batch.query_positions)
                for name in self.config.block_dims(self.dim)
            }
        if event_table is None or events is None:
            history = self.pool(table, positions, times)
        elif self.is_linear:
            # Two rows of zeros: padding, and an item without an event type, which has a weight.
            of_events = functional.pad(event_table[1:], (0, 0, 2, 0))
            history = self.pool(table, positions, times) + self.pool(of_events, (events + 1) * mask, times)
        else:
            history = self.latest(gather(mask.shape[1]), mask, times)
        return {"history": history} | ({"last_item": gather(1)[:, 0]} if self.config.last_item else {})
