"""Several values at once: genres, keywords, categories."""

from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from twotower.config.spec import Length, PositiveInt
from twotower.features.encoders import BagEncoder
from twotower.features.feature import BoolArray, EmbeddedFeature
from twotower.features.raw_values import BagRows, is_value


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

    class State(BagRows):
        """The known tags in row order."""

    config: Config
    state: State
    expected = "a list of tags (text or finite numbers), or text"

    def encoder(self) -> BagEncoder:
        """Return a new table of embeddings, averaged over tags."""
        return BagEncoder(len(self.state.values) + 1, self.config.dim, self.state.num_first)

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
        return self.state.grown(self._learn(values))

    def _encode(self, values: pd.Series) -> Tensor:
        return self.state.encode(map(self.split, values), len(values), self.config.max_tags)
