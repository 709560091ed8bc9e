"""New items where trained items of like content are.

Shapes: B items, N known items, V rows of a bag's table, W width of a feature, D embedding.
"""

from collections.abc import Iterator, Mapping, Set

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.spec import PositiveFloat
from twotower.features.dense import Dense
from twotower.features.encoders import BagEncoder, LookupEncoder
from twotower.features.feature import EmbeddedFeature, Feature
from twotower.features.feature_table import FeatureTable
from twotower.features.id import Id
from twotower.towers.embedding_layout import EmbeddingLayout
from twotower.towers.item_bias.item_bias import ItemBias
from twotower.towers.new_items.content import BagContent, Content, DenseContent
from twotower.towers.new_items.new_items import NewItems
from twotower.towers.new_items.ridge import left_out, log_mean_ratio, ridge

BOOST = 0.2
"""With it new items of Online Retail are found as often as by content neighbours, and all of its items more
often than where new ones are hidden; of known films 2.2 % fewer are (`scripts/bench/new_items.py`)."""


class ByContent(NewItems):
    """A ridge regression of trained embeddings, their bias included, on what items say of themselves.

    Fitted in closed form before each validation and after training; the embeddings of known items do not
    change. The bias of a new item is predicted from its content, too. Words, tags and categories are TF-IDF,
    given and pretrained vectors as they are, each feature of length 1; plain numbers are left out. The bias
    is a log, and the mean of logs is below the log of the mean: it is raised by what the predictions for a
    left-out fifth of the known items lack to their mean (`log_mean_ratio`).

    Reference: Gantner et al., Learning Attribute-to-Feature Mappings for Cold-Start Recommendations, ICDM
    2010, section 4 (linear maps to the factors of matrix factorization).
    """

    class Config(NewItems.Config):
        """Settings of the regression."""

        penalty: PositiveFloat = 1.0
        """Of squared weights. An item is at a distance of 1 from one without content."""
        boost: float | None = None
        """Added to the bias of new items: higher shows them sooner, at the cost of known ones; null: 0.2,
        or nothing where there is no bias."""

        def reads(self, features: Mapping[str, Feature.Config]) -> Set[str]:
            """Return vectors, words, tags and categories, but no id; see `NewItems.Config.reads`."""
            kinds = {name: feature.owner for name, feature in features.items()}
            return {
                name
                for name, kind in kinds.items()
                if issubclass(kind, Dense | EmbeddedFeature) and not issubclass(kind, Id)
            }

        def problems(self, item_bias: ItemBias.Config | None = None) -> Iterator[tuple[str, str]]:
            """Refuse a boost where there is no bias to add it to."""
            if self.boost and item_bias is not None and not item_bias.width:
                yield "boost", "is added to the item bias, and there is none; set new_items.boost=0"

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

    def fit(self, features: Mapping[str, Tensor], embeddings: Tensor, bias_scale: float = 1.0) -> None:
        """Solve for the weights; where items have no content there are none."""
        if not self.content_encoders or not len(embeddings):
            return
        blocks = []
        for name, part in self._parts():
            part.weigh(features[name])
            blocks.append(part.matrix(features[name]))
        counts = np.sum([np.diff(block.indptr) > 0 for block in blocks], axis=0)
        scale = sparse.diags_array(1 / np.sqrt(np.maximum(counts, 1)))
        content = sparse.csr_array(scale @ sparse.hstack(blocks))
        wanted = embeddings.double().cpu().numpy()
        mean = wanted.mean(axis=0)
        weights = ridge(content, wanted - mean, self.config.penalty)
        if self.layout.bias_width:
            logs = wanted[:, -1:] / bias_scale
            mean[-1] += bias_scale * log_mean_ratio(logs, left_out(content, logs, self.config.penalty))
        self.mean.copy_(torch.from_numpy(mean))
        self.is_fitted.fill_(True)
        ends = np.cumsum([block.shape[1] for block in blocks])
        for (_, part), own in zip(self._parts(), np.split(weights, ends[:-1]), strict=True):
            part.weight.copy_(torch.from_numpy(own))

    def among(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Do so once it is fitted; before that the tower's own outputs stay."""
        return super().among(features, embeddings) if self.is_fitted else embeddings

    def forward(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Embed new items [B, D]; those without any content at the mean of the known ones."""
        if not self.content_encoders or not self.ids:
            return embeddings
        found, counts = torch.zeros_like(self.mean), torch.zeros_like(self.mean[:1])
        for name, part in self._parts():
            own, there = part(features[name])
            found, counts = found + own, counts + there
        found = found / counts.clamp(min=1).sqrt() + self.mean
        output, bias = self.layout.tower(found), self.layout.bias(found)
        if self.is_unit:
            output = functional.normalize(output, dim=1)
        boost = BOOST if self.config.boost is None else self.config.boost
        return self.layout.of_items(output, bias + boost)

    def _parts(self) -> list[tuple[str, Content]]:
        return list(self.content_encoders.items())  # type: ignore[arg-type]
