"""Two towers, their settings, and the one score between them."""

from collections.abc import Set
from dataclasses import replace

import torch
from torch import Tensor, nn

from twotower.config.component import Config
from twotower.config.spec import Width
from twotower.model.features.feature_table import FeatureTable
from twotower.model.towers.embedding_layout import EmbeddingLayout
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.model.towers.item_bias.item_bias import ItemBias
from twotower.model.towers.new_items.by_tower import ByTower
from twotower.model.towers.new_items.new_items import NewItems
from twotower.model.towers.tower import Tower
from twotower.model.towers.user_batch import UserBatch

ROWS_AT_ONCE = 8192
"""Number of users or items that are encoded at once outside of training."""


class TwoTowerConfig(Config):
    """Width, history, towers, item bias and new items."""

    embedding_dim: Width
    """D, the width of an embedding, including the column of the item bias."""
    history: HistoryEncoder.Config
    user_tower: Tower.Config
    item_tower: Tower.Config
    item_bias: ItemBias.Config
    new_items: NewItems.Config = ByTower.Config()
    """Embedding of items without training interactions."""

    @property
    def tower_width(self) -> int:
        """The width of the towers' output, without the column of the item bias."""
        return self.embedding_dim - self.item_bias.width

    def remedies(self) -> dict[str, str]:
        """Return need of a loss (`Loss.Config.needs`) -> settings that meet it; empty if the towers do."""
        towers = {"user_tower": self.user_tower, "item_tower": self.item_tower}
        lacking = [tower.remedy(key) for key, tower in towers.items() if "unit_vectors" not in tower.provides]
        one_member = "set history.members=1" if self.history.num_members > 1 else ""
        return {
            "unit_vectors": " and ".join(filter(None, [*lacking, one_member])),
            "one_member": one_member,
            "no_item_bias": "set item_bias=none" if self.item_bias.width else "",
        }


def score(users: Tensor, items: Tensor, out: Tensor | None = None) -> Tensor:
    """Return dot products, [B, D] x [N, D] -> [B, N]: the only similarity, of the index and serving too."""
    return torch.mm(users, items.T, out=out)


def pair_scores(users: Tensor, items: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return `score` of pairs, [..., D] x [..., D] -> [...], summed in a type."""
    return (users * items).sum(-1, dtype=dtype)


class TwoTower(nn.Module):
    """Embeds users and items: known ids by row, new ones by their features.

    Args:
        config: the choice of all parts.
        users: encoded features of all users; features of the request time are computed per request.
        items: encoded features of the catalogue.
        trained_items: [N + 1] bool, items with training interactions; other items are unknown to the
            history table.
        contexts: encoded features of all contexts of a request; their names differ from user features.
        num_events: E, number of event types in histories.
    """

    trained_items: Tensor

    def __init__(
        self,
        config: TwoTowerConfig,
        users: FeatureTable,
        items: FeatureTable,
        trained_items: Tensor,
        contexts: FeatureTable | None = None,
        num_events: int = 0,
    ) -> None:
        super().__init__()
        contexts = FeatureTable({}, {}, 0) if contexts is None else contexts
        # Initial weights are drawn in this order; changing it changes the metrics of a seed.
        dim = config.tower_width
        item_bias = config.item_bias.build(len(trained_items) - 1)
        history = config.history.build(dim)
        user_blocks = users.output_dims | contexts.output_dims | config.history.block_dims(dim)
        user_tower = config.user_tower.build(user_blocks, dim)
        item_tower = config.item_tower.build(items.output_dims, dim)
        self.users, self.items, self.contexts = users, items, contexts
        self.user_encoders, self.item_encoders = users.encoders(), items.encoders()
        self.history, self.item_bias = history, item_bias
        self.user_tower, self.item_tower = user_tower, item_tower
        self._layout = EmbeddingLayout(dim, item_bias.config.width)
        self.register_buffer("trained_items", trained_items)
        if config.history.reads_table:
            is_sparse = config.history.gives_sparse_gradients
            self.history_table = nn.Embedding(len(trained_items), dim, padding_idx=0, sparse=is_sparse)
            nn.init.normal_(self.history_table.weight[1:], std=dim**-0.5)
        self.context_encoders = contexts.encoders()
        if config.history.events:
            self.event_table = nn.Embedding(num_events + 1, dim, padding_idx=0)
            nn.init.normal_(self.event_table.weight[1:], std=dim**-0.5)
        self.new_items = config.new_items.build(
            items, self.item_encoders, self._layout, item_tower.config.provides
        )

    @property
    def layout(self) -> EmbeddingLayout:
        """Layout for ranking; in training biases are addends, since the loss has the prior odds."""
        neutral_bias = 0.0 if self.training else self.item_bias.neutral_bias
        return replace(self._layout, neutral_bias=neutral_bias)

    @property
    def num_members(self) -> int:
        """Number of parts of an embedding; each part has its own loss."""
        return self.history.config.num_members

    def encode_items(self, rows: Tensor) -> Tensor:
        """Embed items of the catalogue by row [B] -> [B, D]."""
        return self.layout.for_ranking(self.outputs_and_biases(rows))

    def outputs_and_biases(self, rows: Tensor) -> Tensor:
        """Return the item tower's outputs of rows [B], with the biases as addends, [B, D]."""
        features = self.items.gather(rows)
        output = self._item_tower_output(features)
        return self.new_items.replace_new(
            features, self._layout.item_embeddings(output, self.item_bias(rows))
        )

    def encode_item_features(self, features: dict[str, Tensor]) -> Tensor:
        """Embed new items from encoded features, each [B, width] -> [B, D]."""
        output = self._item_tower_output(features)
        unknown = output.new_zeros(len(output), dtype=torch.int64)
        embeddings = self._layout.item_embeddings(output, self.item_bias(unknown))
        return self.layout.for_ranking(self.new_items(features, embeddings))

    @torch.no_grad()
    def fit_new_items(self, temperature: float) -> None:
        """Fit `new_items` to the embeddings of trained items; other weights do not change.

        `temperature` is the temperature of the loss: an item bias divided by it is a log odds.
        """
        training = self.training
        self.eval()
        features = self.items.all_rows()
        known = ~self.new_items.is_new(features)
        known_features = {name: values[known] for name, values in features.items()}
        rows = known.nonzero()[:, 0] + 1
        embeddings = torch.cat([self.outputs_and_biases(part) for part in rows.split(ROWS_AT_ONCE)])
        self.new_items.fit(known_features, embeddings, temperature)
        self.train(training)

    def _item_tower_output(self, features: dict[str, Tensor]) -> Tensor:
        read = self._read_by(self.item_tower)
        blocks = {name: self.item_encoders[name](features[name]) for name in features if name in read}
        output: Tensor = self.item_tower(blocks)
        return output

    def _read_by(self, tower: Tower) -> Set[str]:
        """Return the blocks that a tower needs: all in training, because encoders draw dropout in turn."""
        return tower.block_dims.keys() if self.training else tower.reads()

    def optional_layers(self) -> dict[str, nn.Module]:
        """Return key of a tower -> its layers that may be left out; see `Tower.optional_layers`."""
        towers = {"user_tower": self.user_tower, "item_tower": self.item_tower}
        layers = {key: tower.optional_layers for key, tower in towers.items()}
        return {key: each for key, each in layers.items() if each is not None}

    def skip_optional_layers(self, skips: bool) -> None:
        """Leave out the optional layers of both towers, or use them."""
        for key in self.optional_layers():
            getattr(self, key).skips_layers = skips

    def encode_users(self, batch: UserBatch, history_vectors: Tensor | None = None) -> Tensor:
        """Embed users, [B, D].

        `history_vectors` [R, H], row 0 zeros, are what `batch.history_rows` refer to; None: the history table
        or outputs of the item tower.
        """
        return self.embed_user_blocks(self.user_blocks(batch, history_vectors))

    def user_blocks(self, batch: UserBatch, history_vectors: Tensor | None = None) -> dict[str, Tensor]:
        """Return the inputs of the user tower by name, each [B, width]; see `encode_users`."""
        # Users before items; another order of the dropout draws would change the metrics of a seed.
        blocks, positions = self._feature_blocks(batch), batch.history_rows
        if history_vectors is None:
            history_vectors, positions = self._history_vectors(positions)
        return blocks | self._history_blocks(history_vectors, positions, batch)

    def embed_user_blocks(self, blocks: dict[str, Tensor]) -> Tensor:
        """Embed users from the inputs of the user tower; see `encode_users`."""
        return self._layout.user_embeddings(self.user_tower(blocks))

    def history_vectors(self) -> Tensor:
        """Return what histories read of every item, [N + 1, H], row 0 zeros; see `encode_users`."""
        vectors, *_ = self._history_vectors(
            torch.arange(len(self.trained_items), device=self.trained_items.device)
        )
        return vectors

    def encode_both(self, item_rows: Tensor, batch: UserBatch) -> tuple[Tensor, Tensor]:
        """Embed users [B, D], and items by rows [C] from 1, [C, D].

        If histories read the item tower, an item that occurs both in a history and in `item_rows` is encoded
        once, with the same dropout.
        """
        if not self.history.config.reads_towers:
            return self.encode_users(batch), self.encode_items(item_rows)
        blocks = self._feature_blocks(batch)
        outputs, positions, chosen = self._outputs_by_row(batch.history_rows, item_rows)
        users = self.embed_user_blocks(blocks | self._history_blocks(outputs, positions, batch))
        # Not outputs[...]: the gradient of `embedding` is deterministic, and twice as fast as index_select's.
        items = nn.functional.embedding(chosen, outputs)
        return users, self.layout.for_ranking(self._layout.item_embeddings(items, self.item_bias(item_rows)))

    def with_request(self, features: dict[str, Tensor], request_times: Tensor) -> dict[str, Tensor]:
        """Add the features of the request times [B] and, where missing, of the unknown context.

        Features of request times that the user tower does not read are left out.
        """
        read = self._read_by(self.user_tower)
        features = features | self.users.encode_times(request_times, read)
        if self.contexts.features:
            unknown = self.contexts.gather(torch.zeros_like(request_times))
            features = unknown | features | self.contexts.encode_times(request_times, read)
        return features

    def _feature_blocks(self, batch: UserBatch) -> dict[str, Tensor]:
        """Return the blocks of the features of users and contexts."""
        features = batch.features
        if features is None:
            features = self.users.gather(batch.rows)
            if batch.context_rows is not None:
                features |= self.contexts.gather(batch.context_rows)
        features = self.with_request(features, batch.request_times)
        read = self._read_by(self.user_tower)
        encoders = [*self.user_encoders.items(), *self.context_encoders.items()]
        return {name: encoder(features[name]) for name, encoder in encoders if name in read}

    def _history_blocks(self, vectors: Tensor, positions: Tensor, batch: UserBatch) -> dict[str, Tensor]:
        """Return the blocks of histories with items at positions [W, L] of the vectors."""
        events = self.event_table.weight if self.history.config.events else None
        return self.history.tower_blocks(vectors, replace(batch, history_rows=positions), events)

    def _history_vectors(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return item vectors [R, H] and the positions of history items in them, [W, L], 0 = none."""
        if not self.history.config.length:
            return self.trained_items.new_zeros((1, self.history.dim), dtype=torch.float32), rows
        if self.history.config.reads_towers:
            return self._outputs_by_row(rows)
        # Live items, added after training, are beyond the table and unknown, like untrained items.
        rows = torch.where(rows < len(self.trained_items), rows, 0)
        rows = torch.where(self.trained_items[rows], rows, 0)
        if not (self.training and self.history.config.sparse):
            return self.history_table.weight, rows
        # Each row once and in order, with a sparse gradient; position 0 is row 0, which is zero.
        with_padding = torch.cat([rows.new_zeros(1), rows.flatten()])
        distinct, positions = with_padding.unique(return_inverse=True)
        vectors = nn.functional.embedding(distinct, self.history_table.weight, sparse=True)
        return vectors, positions[1:].view(rows.shape)

    def _outputs_by_row(self, history_rows: Tensor, *item_rows: Tensor) -> tuple[Tensor, ...]:
        """Return outputs of the item tower [R, H], row 0 zeros, and the positions of all rows in them."""
        row_tensors = [history_rows, *item_rows]
        if self.items.num_rows <= history_rows.numel():  # the whole catalogue is cheaper than `unique`
            distinct = torch.arange(1, self.items.num_rows + 1, device=history_rows.device)
            positions = row_tensors
        else:
            flat = torch.cat([rows.flatten() for rows in row_tensors])
            distinct, inverse = flat.unique(return_inverse=True)
            parts = (inverse + 1).split([rows.numel() for rows in row_tensors])
            positions = [
                torch.where(rows > 0, part.view(rows.shape), 0)
                for rows, part in zip(row_tensors, parts, strict=True)
            ]
        features = self.items.gather(distinct)
        output = self.new_items.replace_new(features, self._item_tower_output(features))
        return torch.cat([output.new_zeros((1, output.shape[1])), output]), *positions
