"""Two towers and the one score between them.

Shapes: B users or items, L history positions, D embedding, N items.
"""

import torch
from torch import Tensor, nn

from twotower.features.feature_table import FeatureTable
from twotower.towers.embedding_layout import EmbeddingLayout
from twotower.towers.history.history_encoder import EventEmbeddings, HistoryEncoder
from twotower.towers.item_bias.item_bias import ItemBias
from twotower.towers.new_items.new_items import NewItems
from twotower.towers.tower import Tower


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
        self.layout = EmbeddingLayout(history.dim, item_bias.config.width)
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
        is_unit = "unit_vectors" in item_tower.config.provides
        self.new_items = new_items.build(items, self.item_encoders, self.layout, is_unit)

    def encode_items(self, rows: Tensor) -> Tensor:
        """Embed items of the catalogue by row [B] -> [B, D]."""
        features = self.items.gather(rows)
        embeddings = self.layout.of_items(self._item_tower_output(features), self.item_bias(rows))
        return embeddings if self.training else self.new_items.among(features, embeddings)

    def encode_item_features(self, features: dict[str, Tensor]) -> Tensor:
        """Embed new items from encoded features, each [B, width] -> [B, D]."""
        output = self._item_tower_output(features)
        unknown = output.new_zeros(len(output), dtype=torch.int64)
        return self.new_items(features, self.layout.of_items(output, self.item_bias(unknown)))

    @torch.no_grad()
    def fit_new_items(self) -> None:
        """Learn from the trained items how new ones are embedded; called when training has ended."""
        training = self.training
        self.eval()
        features = self.items.every_row()
        known = ~self.new_items.are_new(features)
        rows = known.nonzero()[:, 0] + 1
        self.new_items.fit(
            {name: values[known] for name, values in features.items()}, self.encode_items(rows)
        )
        self.train(training)

    def _item_tower_output(self, features: dict[str, Tensor]) -> Tensor:
        blocks = {name: self.item_encoders[name](values) for name, values in features.items()}
        output: Tensor = self.item_tower(blocks)
        return output

    def encode_users(
        self,
        rows: Tensor,
        history_rows: Tensor,
        history_times: Tensor,
        request_times: Tensor,
        context_rows: Tensor | None = None,
        history_events: Tensor | None = None,
    ) -> Tensor:
        """Embed known users.

        Args:
            rows: [B] user rows, 0 = unknown.
            history_rows: [B, L] item rows, right-aligned, 0 = padding.
            history_times: [B, L] unix seconds.
            request_times: [B] unix seconds at which the user asks.
            context_rows: [B] rows of the table of contexts, 0 = unknown; None: all are.
            history_events: [B, L] what was done with each item, from 1, 0 = not known; None: all are.

        Returns:
            [B, D].
        """
        features = self.users.gather(rows)
        if context_rows is not None:
            features |= self.contexts.gather(context_rows)
        return self.encode_user_features(features, history_rows, history_times, request_times, history_events)

    def encode_user_features(
        self,
        features: dict[str, Tensor],
        history_rows: Tensor,
        history_times: Tensor,
        request_times: Tensor,
        history_events: Tensor | None = None,
    ) -> Tensor:
        """Embed users from encoded features, each [B, width]; the rest as in `encode_users`.

        Features of the context are among them; those left out are unknown.
        """
        # Users before items: what dropout draws keeps its order, so that a seed keeps its figures.
        blocks = self._user_blocks(features, request_times)
        return self._user_embeddings(
            blocks, *self._history_table(history_rows), history_times, history_events
        )

    def encode_user_histories(
        self,
        features: dict[str, Tensor],
        table: Tensor,
        positions: Tensor,
        history_times: Tensor,
        request_times: Tensor,
        history_events: Tensor | None = None,
    ) -> Tensor:
        """Embed users whose history items are given as vectors.

        Args:
            features: as in `encode_user_features`.
            table: [R, H] what histories see of items; row 0 is nothing.
            positions: [B, L] rows of the table, right-aligned, 0 = nothing there.
            history_times: see `encode_users`.
            request_times: see `encode_users`.
            history_events: see `encode_users`.
        """
        blocks = self._user_blocks(features, request_times)
        return self._user_embeddings(blocks, table, positions, history_times, history_events)

    def with_request(self, features: dict[str, Tensor], request_times: Tensor) -> dict[str, Tensor]:
        """Return a user's features with those of the request's times [B], and of its context if not given."""
        features = features | self.users.of_times(request_times)
        if self.contexts.names:
            unknown = self.contexts.gather(torch.zeros_like(request_times))
            features = unknown | features | self.contexts.of_times(request_times)
        return features

    def _user_blocks(self, features: dict[str, Tensor], request_times: Tensor) -> dict[str, Tensor]:
        features = self.with_request(features, request_times)
        encoders = [*self.user_encoders.items(), *self.context_encoders.items()]
        return {name: encoder(features[name]) for name, encoder in encoders}

    def _user_embeddings(
        self,
        blocks: dict[str, Tensor],
        table: Tensor,
        positions: Tensor,
        history_times: Tensor,
        history_events: Tensor | None,
    ) -> Tensor:
        given = []
        if self.history.config.events:
            rows = torch.zeros_like(positions) if history_events is None else history_events
            given.append(EventEmbeddings(self.event_table.weight, rows))
        blocks = blocks | self.history.blocks(table, positions, history_times, *given)
        return self.layout.of_users(self.user_tower(blocks))

    def _history_table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings [R, H] and the place of each history item among them, [B, L], 0 = none."""
        if not self.history.config.length:
            return self.trained_items.new_zeros((1, self.history.dim), dtype=torch.float32), rows
        if self.history.config.reads_table:
            # Live items, added after training, lie beyond the table: unknown to it, as are untrained ones.
            rows = torch.where(rows < len(self.trained_items), rows, 0)
            rows = torch.where(self.trained_items[rows], rows, 0)
            if self.training and self.history.config.sparse:
                return self._rows_of_history_table(rows)
            return self.history_table.weight, rows
        if self.items.num_rows <= rows.numel():  # to embed all is cheaper than to look for the distinct ones
            distinct, positions = torch.arange(1, self.items.num_rows + 1, device=rows.device), rows
        else:
            distinct, inverse = rows.unique(return_inverse=True)
            positions = torch.where(rows > 0, inverse + 1, 0)
        features = self.items.gather(distinct)
        output = self._item_tower_output(features)
        if not self.training:
            output = self.new_items.among(features, output)
        return torch.cat([output.new_zeros((1, output.shape[1])), output]), positions

    def _rows_of_history_table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `_history_table` does, with the table's rows that are asked for: so is its gradient.

        Each is looked up once and in order, which saves the optimizer from finding out; row 0, which is
        zeros and stays so, is always among them.
        """
        distinct, places = torch.cat([rows.new_zeros(1), rows.flatten()]).unique(return_inverse=True)
        found = nn.functional.embedding(distinct, self.history_table.weight, sparse=True)
        return found, places[1:].view(rows.shape)
