"""Numbers: a price, an age, a year."""

from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.features.feature import BoolArray, Feature
from twotower.features.raw_values import FloatArray, as_finite_numbers

LARGEST = 10.0
"""Values are clipped at this many standard deviations from the mean."""
SQUARED_SAFELY = 1e100  # the squares of many numbers up to this one still have a sum


class Numeric(Feature):
    """The standardised value, and whether it is missing: (value - mean) / std of train, 0 where missing."""

    class Config(Feature.Config):
        """Settings of numbers."""

        transform: Literal["none", "log1p"] = "none"
        """`log1p` takes log(1 + value) first, for amounts that span magnitudes; they must exceed -1."""

    class State(Feature.State):
        """Mean and standard deviation of the transformed train values."""

        mean: float = 0.0
        std: float = 1.0

    config: Config
    state: State
    output_dim = 2

    @property
    def expected(self) -> str:
        """The expected value, for messages."""
        return "a finite number" + (" above -1 (for log1p)" if self.config.transform == "log1p" else "")

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.isnan(self._transformed(values))

    def _learn(self, values: pd.Series) -> State:
        numbers = self._transformed(values)
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            return self.State()
        scale = max(1.0, float(np.abs(known).max()) / SQUARED_SAFELY)
        known = known / scale
        return self.State(mean=float(known.mean() * scale), std=float(known.std() * scale) or 1.0)

    def _encode(self, values: pd.Series) -> Tensor:
        numbers, mean = self._transformed(values), self.state.mean
        absent = np.isnan(numbers)
        with np.errstate(over="ignore"):  # infinite is beyond LARGEST, too
            scaled = np.clip((np.where(absent, mean, numbers) - mean) / self.state.std, -LARGEST, LARGEST)
        return torch.from_numpy(np.stack([scaled, absent], axis=1).astype(np.float32))

    def _transformed(self, values: pd.Series) -> FloatArray:
        numbers = as_finite_numbers(values)
        if self.config.transform == "none":
            return numbers
        return np.log1p(np.where(numbers > -1, numbers, np.nan))
