"""Categorical values: a country, a gender, a brand."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.config.spec import DropoutRate, PositiveInt
from twotower.model.features.encoders import LookupEncoder
from twotower.model.features.feature import EmbeddedFeature
from twotower.model.features.raw_values import ValueRows, is_value


class Categorical(EmbeddedFeature):
    """A learned embedding for each value seen in training."""

    class Config(EmbeddedFeature.Config):
        min_count: PositiveInt = 1
        """Minimum number of training users or items with a value; rarer values are unknown."""
        dropout: DropoutRate = 0.0
        """Probability of replacing a value by the unknown value in training."""
        sparse: bool = False
        """Whether gradients are sparse, for large tables; the optimizer must support them."""

        @property
        def gives_sparse_gradients(self) -> bool:
            """The setting `sparse`."""
            return self.sparse

    class State(ValueRows):
        """The known values in row order."""

    config: Config
    state: State
    expected = "text or a finite number"

    def encoder(self) -> LookupEncoder:
        """Return a new embedding table; row 0 is unknown."""
        config = self.config
        return LookupEncoder(len(self.state.values) + 1, config.dim, config.dropout, config.sparse)

    def _wrong(self, values: pd.Series) -> list[bool]:
        return [not is_value(value) for value in values]

    def _learn(self, values: pd.Series) -> State:
        return self.State.fit(_shortest_decimals(values.dropna()), self.config.min_count)

    def _grown(self, values: pd.Series) -> State:
        return self.state.extend(self._learn(values))

    def _encode(self, values: pd.Series) -> Tensor:
        rows = np.fromiter(map(self.state.row, _shortest_decimals(values)), np.int64, count=len(values))
        return torch.from_numpy(rows[:, None])


def _shortest_decimals(values: pd.Series) -> pd.Series:
    """Return values, float32 and float16 as their shortest decimals: 0.1 as in JSON, not 0.10000000149."""
    is_short = str(values.dtype).lower() in ("float16", "float32")  # also the nullable Float32
    return values.astype("str").astype(np.float64) if is_short else values
