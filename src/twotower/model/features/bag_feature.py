"""Base class of features with several tokens a value: the tags of an item, the words of a text."""

from abc import abstractmethod
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.config.spec import PositiveInt
from twotower.model.features.encoders import BagEncoder
from twotower.model.features.feature import EmbeddedFeature
from twotower.model.features.raw_values import ValueRows


class BagFeature(EmbeddedFeature):
    """The mean of the embeddings of the known tokens; unknown tokens are dropped, no tokens give zeros."""

    class Config(EmbeddedFeature.Config):
        min_count: PositiveInt = 1
        """Minimum number of training entities with a token."""

    class State(ValueRows):
        """The known tokens in row order."""

        num_first: int | None = None
        """Number of tokens of the first training, None for all; see `BagEncoder`."""

        @property
        def num_counted(self) -> int:
            """Number of tokens that the mean counts."""
            return len(self.values) if self.num_first is None else self.num_first

    config: Config
    state: State

    @abstractmethod
    def tokens(self, value: Any) -> list[Any]:
        """Return the tokens of a raw value, none if it is invalid; further ones may be dropped."""

    def encoder(self) -> BagEncoder:
        """Return a new table of embeddings, averaged over tokens."""
        return BagEncoder(len(self.state.values) + 1, self.config.dim, self.state.num_counted)

    def encode_bags(self, values: pd.Series, width: int) -> Tensor:
        """Return the rows of the distinct known tokens of each value, int32 [n, width], 0 = padding.

        Tokens of the first training come first, so that later ones displace none.
        """
        encoded, num_counted = np.zeros((len(values), width), dtype=np.int32), self.state.num_counted
        for position, value in enumerate(values):
            rows = [row for row in dict.fromkeys(map(self.state.row, self.tokens(value))) if row]
            rows = sorted(rows, key=lambda row: row > num_counted)[:width]
            encoded[position, : len(rows)] = rows
        return torch.from_numpy(encoded)

    def _learn(self, values: pd.Series) -> State:
        tokens = (token for value in values for token in set(self.tokens(value)))
        return self.State.fit(tokens, self.config.min_count)

    def _grown(self, values: pd.Series) -> State:
        return self.state.extend(self._learn(values), num_first=self.state.num_counted)
