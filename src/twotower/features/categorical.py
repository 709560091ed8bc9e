"""One of a set of values: a country, a gender, a brand."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.config.spec import DropoutRate, PositiveInt, Width
from twotower.features.feature import BoolArray, Feature, Missing
from twotower.features.lookup_encoder import LookupEncoder
from twotower.features.value_rows import ValueRows, is_value


class Categorical(Feature):
    """A learned embedding for each value seen in training.

    Args:
        column: see `Feature`.
        dim: width of the embedding.
        min_count: train entities a value needs to get its own embedding; rarer ones are unknown.
        dropout: share of values replaced by the unknown one while training.
        sparse: give sparse gradients (for large tables); the optimizer must take them.
        missing: see `Feature`.
    """

    expected = "text or a finite number"

    def __init__(
        self,
        *,
        column: str,
        dim: Width,
        min_count: PositiveInt = 1,
        dropout: DropoutRate = 0.0,
        sparse: bool = False,
        missing: Missing = "error",
    ) -> None:
        super().__init__(column=column, missing=missing)
        self.dim = dim
        self.min_count = min_count
        self.dropout = dropout
        self.sparse = sparse
        self.rows = ValueRows()

    @property
    def output_dim(self) -> int:
        """Width of the embedding."""
        return self.dim

    def encoder(self) -> LookupEncoder:
        """Return a fresh embedding table, row 0 = unknown."""
        return LookupEncoder(len(self.rows) + 1, self.dim, self.dropout, self.sparse)

    def state(self) -> dict[str, Any]:
        """Return the known values in row order."""
        return {"values": self.rows.values}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the known values in row order."""
        self.rows = ValueRows(state["values"])

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.array([not is_value(value) for value in values], dtype=np.bool_)

    def _learn(self, values: pd.Series) -> None:
        self.rows = ValueRows.fit(values.dropna(), self.min_count)

    def _encode(self, values: pd.Series) -> Tensor:
        rows = np.fromiter((self.rows.row(value) for value in values), np.int64, count=len(values))
        return torch.from_numpy(rows[:, None])
