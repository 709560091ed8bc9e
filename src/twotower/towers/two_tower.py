"""Two towers and the one score between them.

Shapes: B users or items, L history positions, D embedding, N items.
"""

import torch
from torch import Tensor, nn

from twotower.features.feature_table import FeatureTable
from twotower.towers.embedding_layout import EmbeddingLayout
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.item_bias.item_bias import ItemBias
from twotower.towers.tower import Tower


def score(users: Tensor, items: Tensor) -> Tensor:
    """Compute the score of every user for every item, [B, D] x [N, D] -> [B, N]: the dot product.

    The only similarity there is: it trains, it is indexed (inner product) and it is served.
    """
    return users @ items.T


class TwoTower(nn.Module):
    """Embeds users and items, known ones by row and new ones by their features.

    Args:
        users: encoded features of all users; a context feature reads the request time instead.
        items: encoded features of the catalogue.
        history: encoder of a user's earlier items.
        user_tower: takes the user features, `history` and `last_item`.
        item_tower: takes the item features.
        item_bias: joined to the item tower's output, see `EmbeddingLayout`.
        trained_items: [N + 1] bool, items with interactions in training; the others have no embedding worth
            reading in the history's own table and count as unknown there.
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

    def encode_items(self, rows: Tensor) -> Tensor:
        """Embed items of the catalogue by row [B] -> [B, D]."""
        return self.layout.of_items(self._item_tower_output(self.items.gather(rows)), self.item_bias(rows))

    def encode_item_features(self, features: dict[str, Tensor]) -> Tensor:
        """Embed new items from encoded features, each [B, width] -> [B, D]."""
        output = self._item_tower_output(features)
        unknown = output.new_zeros(len(output), dtype=torch.int64)
        return self.layout.of_items(output, self.item_bias(unknown))

    def _item_tower_output(self, features: dict[str, Tensor]) -> Tensor:
        blocks = {name: self.item_encoders[name](values) for name, values in features.items()}
        output: Tensor = self.item_tower(blocks)
        return output

    def encode_users(
        self, rows: Tensor, history_rows: Tensor, history_times: Tensor, request_times: Tensor
    ) -> Tensor:
        """Embed known users.

        Args:
            rows: [B] user rows, 0 = unknown.
            history_rows: [B, L] item rows, right-aligned, 0 = padding.
            history_times: [B, L] unix seconds.
            request_times: [B] unix seconds at which the user asks.

        Returns:
            [B, D].
        """
        return self.encode_user_features(self.users.gather(rows), history_rows, history_times, request_times)

    def encode_user_features(
        self, features: dict[str, Tensor], history_rows: Tensor, history_times: Tensor, request_times: Tensor
    ) -> Tensor:
        """Embed users from encoded features, each [B, width]; the rest as in `encode_users`."""
        # Users before items: what dropout draws keeps its order, so that a seed keeps its figures.
        blocks = self._user_blocks(features, request_times)
        return self._user_embeddings(blocks, *self._history_table(history_rows), history_times)

    def encode_user_histories(
        self,
        features: dict[str, Tensor],
        table: Tensor,
        positions: Tensor,
        history_times: Tensor,
        request_times: Tensor,
    ) -> Tensor:
        """Embed users whose history items are given as vectors.

        Args:
            features: as in `encode_user_features`.
            table: [R, H] what histories see of items; row 0 is nothing.
            positions: [B, L] rows of the table, right-aligned, 0 = nothing there.
            history_times: see `encode_users`.
            request_times: see `encode_users`.
        """
        return self._user_embeddings(
            self._user_blocks(features, request_times), table, positions, history_times
        )

    def _user_blocks(self, features: dict[str, Tensor], request_times: Tensor) -> dict[str, Tensor]:
        features = features | self.users.context(request_times)
        return {name: self.user_encoders[name](values) for name, values in features.items()}

    def _user_embeddings(
        self, blocks: dict[str, Tensor], table: Tensor, positions: Tensor, history_times: Tensor
    ) -> Tensor:
        blocks = blocks | self.history.blocks(table, positions, history_times)
        return self.layout.of_users(self.user_tower(blocks))

    def _history_table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings [R, H] and the place of each history item among them, [B, L], 0 = none."""
        if not self.history.config.length:
            return self.trained_items.new_zeros((1, self.history.dim), dtype=torch.float32), rows
        if self.history.config.reads_table:
            # Live items, added after training, lie beyond the table: unknown to it, as are untrained ones.
            rows = torch.where(rows < len(self.trained_items), rows, 0)
            return self.history_table.weight, torch.where(self.trained_items[rows], rows, 0)
        if self.items.num_rows <= rows.numel():  # to embed all is cheaper than to look for the distinct ones
            distinct, positions = torch.arange(1, self.items.num_rows + 1, device=rows.device), rows
        else:
            distinct, inverse = rows.unique(return_inverse=True)
            positions = torch.where(rows > 0, inverse + 1, 0)
        output = self._item_tower_output(self.items.gather(distinct))
        return torch.cat([output.new_zeros((1, output.shape[1])), output]), positions
