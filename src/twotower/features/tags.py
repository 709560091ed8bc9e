"""Several values at once: genres, keywords, categories."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.config.spec import Length, PositiveInt
from twotower.features.encoders import BagEncoder
from twotower.features.feature import BoolArray, EmbeddedFeature
from twotower.features.raw_values import ValueRows, first_rows_first, is_value


class Tags(EmbeddedFeature):
    """The mean of the embeddings of the tags seen in training; others are dropped, no tags give zeros."""

    class Config(EmbeddedFeature.Config):
        """Settings of several values at once; `column` holds lists, or text that `separator` splits."""

        separator: str | None = None
        """Separator of tags in text; without one, a text is one tag."""
        max_tags: Length = 16
        """Maximum number of tags of one entity; further ones are dropped."""
        min_count: PositiveInt = 1
        """Minimum number of training entities with a tag."""

    class State(ValueRows):
        """The known tags in row order."""

        num_first: int | None = None
        """Number of tags of the first training, None for all; see `BagEncoder`."""

    config: Config
    state: State
    expected = "a list of tags (text or finite numbers), or text"

    def encoder(self) -> BagEncoder:
        """Return a new table of embeddings, averaged over tags."""
        weights = torch.ones(len(self.state.values) + 1)
        return BagEncoder(weights, self.config.dim, self.state.num_first)

    def split(self, value: Any) -> list[Any]:
        """Return the tags of a raw value, none if it is not a list of tags."""
        if isinstance(value, str):
            separator = self.config.separator
            parts = value.split(separator) if separator else [value]
            return [part.strip() for part in parts if part.strip()]
        if isinstance(value, set | frozenset):
            return sorted(value, key=repr)
        if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
            return list(value)
        return []

    def _wrong(self, values: pd.Series) -> BoolArray:
        is_valid = [
            isinstance(value, str | list | tuple | set | frozenset | np.ndarray)
            and all(map(is_value, self.split(value)))
            for value in values
        ]
        return ~np.array(is_valid, dtype=np.bool_)

    def _learn(self, values: pd.Series) -> State:
        tags = (tag for value in values for tag in set(self.split(value)))
        return self.State.fit(tags, self.config.min_count)

    def _grown(self, values: pd.Series) -> State:
        state = self.state
        known, first = len(state.values), state.num_first
        more = state.new_values(self._learn(values))
        return self.State(values=[*state.values, *more], num_first=known if first is None else first)

    def _encode(self, values: pd.Series) -> Tensor:
        encoded = np.zeros((len(values), self.config.max_tags), dtype=np.int32)
        for position, value in enumerate(values):
            rows = dict.fromkeys(row for row in map(self.state.row, self.split(value)) if row > 0)
            kept = first_rows_first(list(rows), self.state.num_first)[: self.config.max_tags]
            encoded[position, : len(kept)] = kept
        return torch.from_numpy(encoded)
