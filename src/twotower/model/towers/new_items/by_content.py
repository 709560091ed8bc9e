"""Embeddings of new items by a ridge regression on their content.

Shapes: B items, N known items, V rows of a bag's table, W width of a feature, D embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import Fraction, PositiveFloat
from twotower.model.features.dense import Dense
from twotower.model.features.encoders import BagEncoder, LookupEncoder
from twotower.model.features.feature import EmbeddedFeature, Feature
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.towers.embedding_layout import EmbeddingLayout
from twotower.model.towers.item_bias.item_bias import ItemBias
from twotower.model.towers.new_items.new_items import NewItems
from twotower.model.towers.new_items.ridge import cross_validated, log_mean_ratio, ridge

BOOST = 0.2
"""Default of `boost`; measured by the table `new_items` of `scripts/bench`."""


class ByContent(NewItems):
    """A ridge regression of trained embeddings, their bias included, on features of the content.

    Fitted in closed form before each validation and after training; the embeddings of known items do not
    change. The bias of a new item is predicted, too. Words, tags and categories are TF-IDF vectors, dense
    features are vectors; each is scaled to norm 1, and plain numbers are left out. The bias is a log, whose
    regression underestimates the mean of the exponentials; the cross-validated difference is added
    (`log_mean_ratio`).

    Reference: Gantner et al., Learning Attribute-to-Feature Mappings for Cold-Start Recommendations, ICDM
    2010, section 4 (linear maps to the factors of matrix factorization).
    """

    class Config(NewItems.Config):
        penalty: PositiveFloat = 1.0
        """Penalty of squared weights, for content vectors of norm 1."""
        boost: float | None = None
        """Added to the bias of new items: higher values rank them higher, at the cost of known items. null:
        0.2, or what `max_known_loss` selects; no boost without an item bias."""
        max_known_loss: Fraction | None = None
        """Selects the boost: the largest one at which recall and NDCG of known items on the validation split
        fall by at most this share, compared with lists without new items."""

        def reads(self, features: Mapping[str, Feature.Config]) -> Set[str]:
            """Return dense features, words, tags and categories, but no id; see `NewItems.Config.reads`."""
            kinds = {name: feature.owner for name, feature in features.items()}
            content = {name for name, kind in kinds.items() if issubclass(kind, Dense | EmbeddedFeature)}
            return {name for name in content if not issubclass(kinds[name], Id)}

        def max_loss(self) -> float | None:
            """Return `max_known_loss`; see `NewItems.Config.max_loss`."""
            return self.max_known_loss

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse a boost without an item bias, and two ways to set it."""
            item_bias: ItemBias.Config | None = context.get("item_bias")
            without_bias = item_bias is not None and not item_bias.width
            if self.boost and without_bias:
                yield "boost", "requires an item bias; set new_items.boost=0, or choose an item_bias"
            if self.max_known_loss is not None and without_bias:
                yield "max_known_loss", "selects a boost, which requires an item bias; choose an item_bias"
            if self.max_known_loss is not None and self.boost is not None:
                yield "max_known_loss", "selects the boost, which is set; remove new_items.boost"

    config: Config
    mean: Tensor
    is_fitted: Tensor

    def __init__(
        self,
        config: Config,
        items: FeatureTable,
        encoders: nn.ModuleDict,
        layout: EmbeddingLayout,
        provides: frozenset[str],
    ) -> None:
        super().__init__(config, items, encoders, layout, provides)
        self.boost.fill_(BOOST if config.boost is None else config.boost)
        width = layout.tower_width + layout.bias_width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))
        parts: dict[str, Content] = {}
        for name, feature in items.features.items():
            encoder = encoders[name]
            if isinstance(feature, Dense):
                parts[name] = DenseContent(feature.length, width)
            elif isinstance(encoder, BagEncoder):
                parts[name] = BagContent(len(encoder.weight), width)
            elif isinstance(encoder, LookupEncoder) and name not in self.ids:
                parts[name] = BagContent(encoder.table.num_embeddings, width)
        self.content_encoders = nn.ModuleDict(parts)
        self._correction: tuple[int, float] | None = None

    def fit(self, features: Mapping[str, Tensor], embeddings: Tensor, temperature: float) -> None:
        """Solve for the weights, if items have content; see `NewItems.fit`."""
        if not self.content_encoders or not len(embeddings):
            return
        blocks = []
        for name, part in self._parts():
            part.fit(features[name])
            blocks.append(part.matrix(features[name]))
        counts = np.sum([np.diff(block.indptr) > 0 for block in blocks], axis=0)
        scale = sparse.diags_array(1 / np.sqrt(np.maximum(counts, 1)))
        content = sparse.csr_array(scale @ sparse.hstack(blocks))
        targets = embeddings.double().cpu().numpy()
        mean = targets.mean(axis=0)
        weights = ridge(content, targets - mean, self.config.penalty)
        if self.layout.bias_width:
            mean[-1] += temperature * self._mean_correction(content, targets[:, -1:] / temperature)
        self.mean.copy_(torch.from_numpy(mean))
        self.is_fitted.fill_(True)
        ends = np.cumsum([block.shape[1] for block in blocks])
        for (_, part), own in zip(self._parts(), np.split(weights, ends[:-1]), strict=True):
            part.weight.copy_(torch.from_numpy(own))

    def _mean_correction(self, content: sparse.csr_array, logs: NDArray[np.float64]) -> float:
        """Return `log_mean_ratio` of the biases, cached because a trend's biases are fixed in training."""
        arrays = (content.indptr, content.indices, content.data, logs)
        fitted_to = hash(tuple(each.tobytes() for each in arrays))
        if self._correction is None or self._correction[0] != fitted_to:
            predicted = cross_validated(content, logs, self.config.penalty)
            self._correction = fitted_to, log_mean_ratio(logs, predicted)
        return self._correction[1]

    def replace_new(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """See `NewItems.replace_new`; no change before `fit`."""
        return super().replace_new(features, embeddings) if self.is_fitted else embeddings

    def forward(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Embed new items, [B, D]; an item without content has the mean of the known items."""
        if not self.content_encoders or not self.ids:
            return embeddings
        total, counts = torch.zeros_like(self.mean), torch.zeros_like(self.mean[:1])
        for name, part in self._parts():
            vectors, has_content = part(features[name])
            total, counts = total + vectors, counts + has_content
        predicted = total / counts.clamp(min=1).sqrt() + self.mean
        output, bias = self.layout.tower(predicted), self.layout.bias(predicted)
        if self.is_unit:
            output = functional.normalize(output, dim=1)
        return self.layout.item_embeddings(output, bias + self.boost)

    @property
    def has_boost(self) -> bool:
        """With an item bias, and content to predict it from."""
        return bool(self.layout.bias_width and self.content_encoders and self.ids)

    def _parts(self) -> list[tuple[str, "Content"]]:
        return list(self.content_encoders.items())  # type: ignore[arg-type]


class Content(nn.Module, ABC):
    """One content feature of items: unit vectors of width V, times the weights [V, D] of the regression."""

    weight: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, dim))

    def fit(self, encoded: Tensor) -> None:
        """Fit the scaling of the components to known items, encoded [N, W]."""

    @abstractmethod
    def matrix(self, encoded: Tensor) -> sparse.csr_array:
        """Return the vectors of items, encoded [N, W], as a sparse matrix [N, V]."""

    @abstractmethod
    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors times weights of items [B, W], [B, D], and whether each has content, [B, 1]."""


class BagContent(Content):
    """Rows [B, W], 0 = padding -> binary TF-IDF vectors of norm 1, times weights [V, D].

    Values without training items have weight 0.
    """

    idf: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(width, dim)
        self.register_buffer("idf", torch.zeros(width))

    def fit(self, rows: Tensor) -> None:
        """Compute the inverse document frequency of each row in the bags [N, W] of known items."""
        counts = torch.bincount(rows[rows > 0].long().cpu(), minlength=len(self.idf)).double()
        idf = torch.where(counts > 0, 1 + torch.log((1 + len(rows)) / (1 + counts)), 0.0)
        self.idf.copy_(idf)

    def matrix(self, rows: Tensor) -> sparse.csr_array:
        """Return the TF-IDF vectors, [N, V]."""
        scaled = _unit(self.idf[rows.long()]).double().cpu().numpy()
        positions = np.nonzero(scaled)
        columns = rows.cpu().numpy()[positions]
        shape = (len(rows), len(self.idf))
        return sparse.csr_array((scaled[positions], (positions[0], columns)), shape=shape)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the weighted rows; see `Content.forward`."""
        rows = rows.long()
        scaled = _unit(self.idf[rows])
        has_content = (scaled > 0).any(dim=1, keepdim=True).to(scaled.dtype)
        return torch.einsum("bw,bwd->bd", scaled, functional.embedding(rows, self.weight)), has_content


class DenseContent(Content):
    """Vectors [B, V], scaled to norm 1, times weights [V, D]."""

    def matrix(self, vectors: Tensor) -> sparse.csr_array:
        """Return the vectors with norm 1, [N, V]."""
        return sparse.csr_array(_unit(vectors).double().cpu().numpy())

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply; see `Content.forward`."""
        has_content = (vectors != 0).any(dim=1, keepdim=True).to(vectors.dtype)
        return _unit(vectors) @ self.weight, has_content


def _unit(vectors: Tensor) -> Tensor:
    length = vectors.square().sum(1, keepdim=True).sqrt()
    return vectors / torch.where(length > 0, length, 1.0)
