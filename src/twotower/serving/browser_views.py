"""Columns that filters of the page can name, and the map of the catalogue.

Shapes: N items, n of them, D the tower's part of an embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from twotower.features.feature_table import FeatureTable
from twotower.features.raw_values import as_numbers
from twotower.features.tags import Tags
from twotower.serving.attribute_columns import make_tags
from twotower.serving.attributes import plain
from twotower.serving.live_items import Floats

MAX_VALUES = 200
"""Columns with more distinct values are described without them."""


def facets(
    table: pd.DataFrame, features: FeatureTable, kinds: Mapping[str, str], label: str | None = None
) -> list[dict[str, Any]]:
    """Describe columns of items or users, given name -> `text`, `number` or `tags`.

    Returns:
        Name and kind of each column, and whether it is the `label`. Numbers have `min` and `max` (or None).
        Others have `values` with counts, the most frequent first, or None if there are more than 200.
    """
    features_by_column = {feature.column: feature for feature in features.features.values()}
    return [
        {"name": name, "kind": kind, "is_label": name == label}
        | _facet(table[name], kind, features_by_column.get(name))
        for name, kind in kinds.items()
    ]


def _facet(values: pd.Series, kind: str, feature: object | None) -> dict[str, Any]:
    if kind == "number":
        numbers = as_numbers(values).astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        least, greatest = (float(numbers.min()), float(numbers.max())) if len(numbers) else (None, None)
        return {"min": least, "max": greatest}
    if kind == "tags":
        tags = feature if isinstance(feature, Tags) else make_tags("tags")
        # A tag counts once per item.
        values = pd.Series([list(set(tags.split(value))) for value in values], dtype=object).explode()
    counts = values.dropna().value_counts()
    if len(counts) > MAX_VALUES:
        return {"values": None}
    ordered = sorted(counts.items(), key=lambda pair: (-int(pair[1]), str(pair[0])))
    return {"values": [{"value": plain(value), "count": int(number)} for value, number in ordered]}


@dataclass(frozen=True, eq=False)
class CatalogueMap:
    """The first two principal components of embeddings.

    Attributes:
        center: mean of the embeddings [D].
        axes: unit vectors [D, 2], the wider first, signed so that the largest component is positive.
        explained: share of the variance along the axes, 0 to 1.
    """

    center: Floats
    axes: Floats
    explained: float

    @classmethod
    def fit(cls, vectors: Floats) -> "CatalogueMap":
        """Compute the components of embeddings [N, D]; missing ones (D = 1, no variance) are 0."""
        center = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], dtype=np.float32)
        centered = vectors - center
        variances, directions = np.linalg.eigh((centered.T @ centered).astype(np.float64))
        axes = directions[:, ::-1][:, :2]
        largest = np.abs(axes).argmax(axis=0)
        axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1)
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
        total = float(variances.clip(0).sum())
        explained = float(variances[-2:].clip(0).sum()) / total if total > 0 else 0.0
        return cls(center.astype(np.float32), axes.astype(np.float32), explained)

    def project(self, vectors: Floats) -> Floats:
        """Return the positions [n, 2] of embeddings [n, D]."""
        positions: Floats = ((vectors - self.center) @ self.axes).astype(np.float32)
        return positions
