"""A quantity whose effect is not a straight line: quantile bins."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.config.spec import Width
from twotower.features.feature import BoolArray, Feature, Missing
from twotower.features.lookup_encoder import LookupEncoder
from twotower.features.raw_numbers import as_finite_numbers


class Binned(Feature):
    """A learned embedding for each quantile bin of the train values; bin 0 = missing.

    Args:
        column: see `Feature`.
        dim: width of the embedding.
        num_bins: bins of equal count; fewer where many values are equal.
        missing: see `Feature`.
    """

    expected = "a finite number"

    def __init__(self, *, column: str, dim: Width, num_bins: Width = 10, missing: Missing = "error") -> None:
        super().__init__(column=column, missing=missing)
        self.dim = dim
        self.num_bins = num_bins
        self.edges: list[float] = []

    @property
    def output_dim(self) -> int:
        """Width of the embedding."""
        return self.dim

    def encoder(self) -> LookupEncoder:
        """Return a fresh embedding table, one row a bin."""
        return LookupEncoder(len(self.edges) + 2, self.dim)

    def state(self) -> dict[str, Any]:
        """Return the lower edges of all bins but the first."""
        return {"edges": self.edges}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the lower edges of all bins but the first."""
        self.edges = state["edges"]

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.isnan(as_finite_numbers(values))

    def _learn(self, values: pd.Series) -> None:
        numbers = as_finite_numbers(values)
        known = numbers[~np.isnan(numbers)]
        if len(known):
            levels = np.arange(1, self.num_bins) / self.num_bins
            edges = np.unique(np.quantile(known, levels, method="higher"))  # a value: no bin is empty
            self.edges = edges[edges > known.min()].tolist()

    def _encode(self, values: pd.Series) -> Tensor:
        numbers = as_finite_numbers(values)
        bins = np.searchsorted(np.asarray(self.edges), numbers, side="right") + 1
        return torch.from_numpy(np.where(np.isnan(numbers), 0, bins).astype(np.int64)[:, None])
