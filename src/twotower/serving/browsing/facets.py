"""What filters can ask for: the values or the range of each column that `where` takes."""

from typing import Any

import numpy as np
import pandas as pd

from twotower.bundle.read import Bundle
from twotower.features.raw_values import as_numbers
from twotower.features.tags import Tags
from twotower.serving.attribute_columns import tags_of
from twotower.serving.attributes import plain

MOST_VALUES = 200
"""Distinct values of a column beyond which they are not listed."""


def facets_of(bundle: Bundle, kinds: dict[str, str]) -> list[dict[str, Any]]:
    """Describe columns as the bundle's items have them.

    Args:
        bundle: whose item table is looked at.
        kinds: column -> `text`, `number` or `tags`.

    Returns:
        Of each column its name, kind, whether it names items for people, and: of numbers the least and the
        greatest (None where there is none); of the rest the values with their counts, the most frequent
        first, or None where there are more than 200.
    """
    features = {feature.column: feature for feature in bundle.model.items.features.values()}
    return [
        {"name": name, "kind": kind, "is_label": name == bundle.item_label}
        | _facet(bundle.item_table[name], kind, features.get(name))
        for name, kind in kinds.items()
    ]


def _facet(values: pd.Series, kind: str, feature: object | None) -> dict[str, Any]:
    if kind == "number":
        numbers = as_numbers(values).astype(np.float64)
        there = numbers[np.isfinite(numbers)]
        found = (float(there.min()), float(there.max())) if len(there) else (None, None)
        return dict(zip(("min", "max"), found, strict=True))
    if kind == "tags":
        tags = feature if isinstance(feature, Tags) else tags_of("tags")
        # An item that says a tag twice has it once.
        values = pd.Series([list(set(tags.split(value))) for value in values], dtype=object).explode()
    counts = values.dropna().value_counts()
    if len(counts) > MOST_VALUES:
        return {"values": None}
    ordered = sorted(counts.items(), key=lambda pair: (-int(pair[1]), str(pair[0])))
    return {"values": [{"value": plain(value), "count": int(number)} for value, number in ordered]}
