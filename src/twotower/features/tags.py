"""Several values at once: genres, keywords, categories."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.config.spec import Length, PositiveInt, Width
from twotower.features.bag_encoder import BagEncoder
from twotower.features.feature import BoolArray, Feature, Missing
from twotower.features.value_rows import ValueRows, is_value


class Tags(Feature):
    """The mean of the embeddings of the tags seen in training; others are dropped, no tags give zeros.

    Args:
        column: of lists, or of text that `separator` splits.
        dim: width of an embedding.
        separator: between tags in text; without one, a text is one tag.
        max_tags: of one entity; further ones are dropped.
        min_count: train entities a tag needs to get an embedding.
        missing: see `Feature`.
    """

    expected = "a list of tags (text or finite numbers), or text"

    def __init__(
        self,
        *,
        column: str,
        dim: Width,
        separator: str | None = None,
        max_tags: Length = 16,
        min_count: PositiveInt = 1,
        missing: Missing = "error",
    ) -> None:
        super().__init__(column=column, missing=missing)
        self.dim = dim
        self.separator = separator or None
        self.max_tags = max_tags
        self.min_count = min_count
        self.rows = ValueRows()

    @property
    def output_dim(self) -> int:
        """Width of an embedding."""
        return self.dim

    def encoder(self) -> BagEncoder:
        """Return a fresh table of embeddings, averaged."""
        return BagEncoder(torch.ones(len(self.rows) + 1), self.dim)

    def state(self) -> dict[str, Any]:
        """Return the known tags in row order."""
        return {"values": self.rows.values}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the known tags in row order."""
        self.rows = ValueRows(state["values"])

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.array([not self._is_bag(value) for value in values], dtype=np.bool_)

    def _learn(self, values: pd.Series) -> None:
        self.rows = ValueRows.fit((tag for value in values for tag in set(self.split(value))), self.min_count)

    def _encode(self, values: pd.Series) -> Tensor:
        encoded = np.zeros((len(values), self.max_tags), dtype=np.int32)
        for position, value in enumerate(values):
            rows = [row for row in map(self.rows.row, self.split(value)) if row > 0]
            rows = list(dict.fromkeys(rows))[: self.max_tags]
            encoded[position, : len(rows)] = rows
        return torch.from_numpy(encoded)

    def split(self, value: Any) -> list[Any]:
        """Return the tags of a raw value; none where it is no bag of tags."""
        if isinstance(value, str):
            parts = value.split(self.separator) if self.separator else [value]
            return [part.strip() for part in parts if part.strip()]
        if isinstance(value, set | frozenset):
            return sorted(value, key=repr)
        if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
            return list(value)
        return []

    def _is_bag(self, value: Any) -> bool:
        if isinstance(value, str):
            return True
        if not isinstance(value, list | tuple | set | frozenset | np.ndarray):
            return False
        return all(is_value(tag) for tag in self.split(value))
