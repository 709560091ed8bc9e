"""Numbers in quantile bins, for nonlinear effects."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from twotower.config.spec import Width
from twotower.model.features.encoders import LookupEncoder
from twotower.model.features.feature import EmbeddedFeature
from twotower.model.features.raw_values import FloatArray, as_finite_numbers


class Binned(EmbeddedFeature):
    """A learned embedding for each quantile bin of the training values; bin 0 = missing."""

    class Config(EmbeddedFeature.Config):
        num_bins: Width = 10
        """Number of bins of equal count; fewer if many values are equal."""

    class State(EmbeddedFeature.State):
        """The lower edges of all bins but the first."""

        edges: list[float] = Field(default_factory=list)

    config: Config
    state: State
    expected = "a finite number"

    def encoder(self) -> LookupEncoder:
        """Return a new embedding table with one row per bin."""
        return LookupEncoder(len(self.state.edges) + 2, self.config.dim)

    def _wrong(self, values: pd.Series) -> npt.NDArray[np.bool_]:
        return np.isnan(self._numbers(values))

    def _learn(self, values: pd.Series) -> State:
        numbers = self._numbers(values)
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            return self.State()
        levels = np.arange(1, self.config.num_bins) / self.config.num_bins
        edges = np.unique(np.quantile(known, levels, method="higher"))  # edges are values, so no bin is empty
        return self.State(edges=edges[edges > known.min()].tolist())

    def _encode(self, values: pd.Series) -> Tensor:
        numbers = self._numbers(values)
        bins = np.searchsorted(np.asarray(self.state.edges), numbers, side="right") + 1
        return torch.from_numpy(np.where(np.isnan(numbers), 0, bins).astype(np.int64)[:, None])

    def _numbers(self, values: pd.Series) -> FloatArray:
        """Return the values as finite numbers [n], NaN if one is missing or has another form."""
        return as_finite_numbers(values)
