"""Two towers and the one score between them.

Shapes: B users or items, L history positions, D embedding, N items.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from twotower.features.feature_table import FeatureTable
from twotower.towers.embedding_layout import EmbeddingLayout
from twotower.towers.history.history_encoder import EventEmbeddings, HistoryEncoder, QueryPositions
from twotower.towers.history.rows import distinct_rows, sparse_rows
from twotower.towers.item_bias.item_bias import ItemBias
from twotower.towers.new_items.new_items import NewItems
from twotower.towers.tower import Tower
from twotower.towers.user_batch import UserBatch


def score(users: Tensor, items: Tensor) -> Tensor:
    """Compute the score of every user for every item, [B, D] x [N, D] -> [B, N]: the dot product.

    The only similarity there is: it trains, it is indexed (inner product) and it is served.
    """
    return users @ items.T


class TwoTower(nn.Module):
    """Embeds users and items, known ones by row and new ones by their features.

    Args:
        users: encoded features of all users; one of the request's time reads that instead.
        items: encoded features of the catalogue.
        history: encoder of a user's earlier items.
        user_tower: takes the user features, `history` and `last_item`.
        item_tower: takes the item features.
        item_bias: joined to the item tower's output, see `EmbeddingLayout`.
        trained_items: [N + 1] bool, items with interactions in training; the others have no embedding worth
            reading in the history's own table and count as unknown there.
        contexts: encoded features of all contexts of a request, whose names no feature of users has.
        num_events: E, the kinds of events that histories tell apart where they do.
        new_items: chooses what embeds items that training did not know, outside of training.
    """

    trained_items: Tensor

    def __init__(
        self,
        users: FeatureTable,
        items: FeatureTable,
        history: HistoryEncoder,
        user_tower: Tower,
        item_tower: Tower,
        item_bias: ItemBias,
        trained_items: Tensor,
        contexts: FeatureTable,
        num_events: int,
        new_items: NewItems.Config,
    ) -> None:
        super().__init__()
        self.users = users
        self.items = items
        self.user_encoders = users.encoders()
        self.item_encoders = items.encoders()
        self.history = history
        self.user_tower = user_tower
        self.item_tower = item_tower
        self.item_bias = item_bias
        self._layout = EmbeddingLayout(history.dim, item_bias.config.width)
        self.register_buffer("trained_items", trained_items)
        if history.config.reads_table:
            self.history_table = nn.Embedding(len(trained_items), history.dim, padding_idx=0)
            nn.init.normal_(self.history_table.weight[1:], std=history.dim**-0.5)
        # After all else: first weights are drawn in this order, so that a seed keeps its figures.
        self.contexts = contexts
        self.context_encoders = contexts.encoders()
        if history.config.events:
            self.event_table = nn.Embedding(num_events + 1, history.dim, padding_idx=0)
            nn.init.normal_(self.event_table.weight[1:], std=history.dim**-0.5)
        self.new_items = new_items.build(items, self.item_encoders, self._layout, item_tower.config.provides)

    @property
    def layout(self) -> EmbeddingLayout:
        """Of embeddings as they are ranked; in training biases are addends, since the loss has the prior."""
        return (
            self._layout if self.training else replace(self._layout, neutral_bias=self.item_bias.neutral_bias)
        )

    def encode_items(self, rows: Tensor) -> Tensor:
        """Embed items of the catalogue by row [B] -> [B, D]."""
        return self.layout.ranked(self.outputs_and_biases(rows))

    def outputs_and_biases(self, rows: Tensor) -> Tensor:
        """Return what the tower says of items by row [B], and their bias beside it, [B, D]."""
        features = self.items.gather(rows)
        output = self._item_tower_output(features)
        return self.new_items.among(features, self._layout.of_items(output, self.item_bias(rows)))

    def encode_item_features(self, features: dict[str, Tensor]) -> Tensor:
        """Embed new items from encoded features, each [B, width] -> [B, D]."""
        output = self._item_tower_output(features)
        unknown = output.new_zeros(len(output), dtype=torch.int64)
        embeddings = self._layout.of_items(output, self.item_bias(unknown))
        return self.layout.ranked(self.new_items(features, embeddings))

    def _item_tower_output(self, features: dict[str, Tensor]) -> Tensor:
        blocks = {name: self.item_encoders[name](values) for name, values in features.items()}
        output: Tensor = self.item_tower(blocks)
        return output

    def encode_users(self, batch: UserBatch, history_vectors: Tensor | None = None) -> Tensor:
        """Embed users, [B, D].

        Args:
            batch: the users.
            history_vectors: [R, H] item vectors whose rows `batch.history_rows` are, row 0 zeros; None: the
                history table, or the outputs of the item tower.
        """
        # Users before items: the random draws of dropout keep their order, so that a seed keeps its metrics.
        blocks = self._user_blocks(batch)
        if history_vectors is None:
            return self._user_embeddings(blocks, *self._history_table(batch.history_rows), batch)
        return self._user_embeddings(blocks, history_vectors, batch.history_rows, batch)

    def encode_both(self, item_rows: Tensor, batch: UserBatch) -> tuple[Tensor, Tensor]:
        """Embed users [B, D], and items by rows [C] from 1, [C, D].

        Where histories read the item tower, the tower encodes an item of a history and of `item_rows` once,
        and dropout of its id applies to both.
        """
        if not self.history.config.reads_towers:
            return self.encode_users(batch), self.encode_items(item_rows)
        blocks = self._user_blocks(batch)
        table, history_positions, positions = self._outputs_by_row(batch.history_rows, item_rows)
        users = self._user_embeddings(blocks, table, history_positions, batch)
        # Not table[...]: this gradient is summed in one order with any number of threads, in half the time of
        # index_select's.
        chosen = nn.functional.embedding(positions, table)
        return users, self.layout.ranked(self._layout.of_items(chosen, self.item_bias(item_rows)))

    def with_request(self, features: dict[str, Tensor], request_times: Tensor) -> dict[str, Tensor]:
        """Return a user's features with those of the request's times [B], and of its context if not given."""
        features = features | self.users.encode_times(request_times)
        if self.contexts.names:
            unknown = self.contexts.gather(torch.zeros_like(request_times))
            features = unknown | features | self.contexts.encode_times(request_times)
        return features

    def _user_blocks(self, batch: UserBatch) -> dict[str, Tensor]:
        features = batch.features
        if features is None:
            features = self.users.gather(batch.rows)
            if batch.context_rows is not None:
                features |= self.contexts.gather(batch.context_rows)
        features = self.with_request(features, batch.request_times)
        encoders = [*self.user_encoders.items(), *self.context_encoders.items()]
        return {name: encoder(features[name]) for name, encoder in encoders}

    def _user_embeddings(
        self, blocks: dict[str, Tensor], table: Tensor, positions: Tensor, batch: UserBatch
    ) -> Tensor:
        events = None
        if self.history.config.events:
            rows = torch.zeros_like(positions) if batch.history_events is None else batch.history_events
            events = EventEmbeddings(self.event_table.weight, rows)
        queries = batch.query_positions or QueryPositions(None, batch.request_times)
        blocks = blocks | self.history.blocks(table, positions, batch.history_times, events, queries)
        return self._layout.of_users(self.user_tower(blocks))

    def _history_table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings [R, H] and the place of each history item among them, [B, L], 0 = none."""
        if not self.history.config.length:
            return self.trained_items.new_zeros((1, self.history.dim), dtype=torch.float32), rows
        if self.history.config.reads_table:
            # Live items, added after training, lie beyond the table: unknown to it, as are untrained ones.
            rows = torch.where(rows < len(self.trained_items), rows, 0)
            rows = torch.where(self.trained_items[rows], rows, 0)
            if self.training and self.history.config.sparse:
                return sparse_rows(self.history_table.weight, rows)
            return self.history_table.weight, rows
        return self._outputs_by_row(rows, rows.new_zeros(0))[:2]

    def _outputs_by_row(self, rows: Tensor, more: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the item tower's outputs [R, H], row 0 zeros, and where rows [B, L] and more [C] are."""
        distinct, positions, places = distinct_rows(rows, more, self.items.num_rows)
        features = self.items.gather(distinct)
        output = self.new_items.among(features, self._item_tower_output(features))
        return torch.cat([output.new_zeros((1, output.shape[1])), output]), positions, places
