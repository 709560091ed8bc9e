"""What the page shows of a bundle: what filters can ask for, ids that begin with a text, what lies near what.

Shapes: N items, n and m of them, D the tower's part of an embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.vocabulary import Vocabulary
from twotower.features.feature_table import FeatureTable
from twotower.features.raw_values import as_numbers
from twotower.features.tags import Tags
from twotower.serving.attribute_columns import make_tags
from twotower.serving.attributes import plain
from twotower.serving.live_items import Floats, UserId

MOST_VALUES = 200
"""Distinct values of a column beyond which they are not listed."""


def facets_of(
    table: pd.DataFrame, features: FeatureTable, kinds: Mapping[str, str], label: str | None = None
) -> list[dict[str, Any]]:
    """Describe columns, name -> `text`, `number` or `tags`, as the bundle's items or users have them.

    Returns of each its name, kind, whether it is the `label` that names items for people, and: of numbers the
    least and the greatest (None where there is none); of the rest the values with their counts, the most
    frequent first, or None where there are more than 200.
    """
    reading = {feature.column: feature for feature in features.features.values()}
    return [
        {"name": name, "kind": kind, "is_label": name == label} | _facet(table[name], kind, reading.get(name))
        for name, kind in kinds.items()
    ]


def _facet(values: pd.Series, kind: str, feature: object | None) -> dict[str, Any]:
    if kind == "number":
        numbers = as_numbers(values).astype(np.float64)
        there = numbers[np.isfinite(numbers)]
        found = (float(there.min()), float(there.max())) if len(there) else (None, None)
        return dict(zip(("min", "max"), found, strict=True))
    if kind == "tags":
        tags = feature if isinstance(feature, Tags) else make_tags("tags")
        # An item that says a tag twice has it once.
        values = pd.Series([list(set(tags.split(value))) for value in values], dtype=object).explode()
    counts = values.dropna().value_counts()
    if len(counts) > MOST_VALUES:
        return {"values": None}
    ordered = sorted(counts.items(), key=lambda pair: (-int(pair[1]), str(pair[0])))
    return {"values": [{"value": plain(value), "count": int(number)} for value, number in ordered]}


DIGITS = 19
"""Of the longest whole number of 64 bits."""
HIGHEST = 2**63 - 1


def with_prefix(ids: Vocabulary, prefix: str, limit: int) -> list[UserId]:
    """Return the first ids that begin with a text: in their order, shorter numbers before longer ones."""
    values = ids.values
    if ids.is_text or not prefix:
        start = int(np.searchsorted(values, prefix)) if ids.is_text else 0
        found: list[UserId] = values[start : start + limit].tolist()
        return [key for key in found if str(key).startswith(prefix)]
    if not (prefix.isascii() and prefix.isdecimal()) or prefix != str(int(prefix)):
        return []
    keys: list[UserId] = []
    for num_more in range(DIGITS - len(prefix) + 1 if prefix != "0" else 1):
        low = int(prefix) * 10**num_more
        if low > HIGHEST:
            break
        start = int(np.searchsorted(values, low, "left"))
        end = int(np.searchsorted(values, min(low + 10**num_more - 1, HIGHEST), "right"))
        keys += values[start : min(end, start + limit - len(keys))].tolist()
    return keys


MOST_POINTS = 5000
"""More would only lie on each other."""
SEED = 0


@dataclass(frozen=True, eq=False)
class CatalogueMap:
    """The plane in which embeddings differ most: their mean [D], their first two principal components [D, 2].

    Axes have length 1, the wider one comes first, and the part of each that is largest points up. `explained`
    is the share of the variance that the plane holds, 0 to 1.
    """

    centre: Floats
    axes: Floats
    explained: float

    @classmethod
    def of(cls, vectors: Floats) -> "CatalogueMap":
        """Return the plane of embeddings [N, D]; with D = 1 or no variance, what is missing is 0."""
        dim = vectors.shape[1]
        centre = vectors.mean(axis=0) if len(vectors) else np.zeros(dim, dtype=np.float32)
        centred = vectors - centre
        variances, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        axes = directions[:, ::-1][:, :2]
        largest = np.abs(axes).argmax(axis=0)
        axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1)
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
        total = float(variances.clip(0).sum())
        explained = float(variances[-2:].clip(0).sum()) / total if total > 0 else 0.0
        return cls(centre.astype(np.float32), axes.astype(np.float32), explained)

    def place(self, vectors: Floats) -> Floats:
        """Return where embeddings [n, D] lie, [n, 2]."""
        found: Floats = ((vectors - self.centre) @ self.axes).astype(np.float32)
        return found


def drawn(num_items: int, most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Return which of some items are drawn: all, or a sample that is the same each time; ascending."""
    if num_items <= most:
        return np.arange(num_items)
    return np.sort(np.random.default_rng(SEED).choice(num_items, most, replace=False))


def nearest(vectors: Floats, others: Floats, k: int) -> list[list[tuple[int, float]]]:
    """Return for each vector [n, D] the k of others [m, D] with the highest cosine: position and cosine."""
    cosines = _unit(vectors) @ _unit(others).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return [[(int(at), float(row[at])) for at in places] for row, places in zip(cosines, order, strict=True)]


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(lengths > 0, lengths, 1), dtype=np.float32)
