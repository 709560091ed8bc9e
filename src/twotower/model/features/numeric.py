"""Numbers: a price, an age, a year."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from twotower.model.features.feature import Feature
from twotower.model.features.raw_values import FloatArray, as_finite_numbers

LARGEST = 10.0
"""Values are clipped at this many standard deviations from the mean."""
ROUNDING = 10 * float(np.finfo(np.float64).eps)
"""A standard deviation below this share of the mean comes from rounding errors of a constant."""
MAX_SQUARED = 1e100  # sums of squares of larger numbers overflow


class Numeric(Feature):
    """The standardized value, (value - mean) / std of train and 0 if missing, and whether it is missing."""

    class Config(Feature.Config):
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

    def _wrong(self, values: pd.Series) -> npt.NDArray[np.bool_]:
        return np.isnan(self._transformed(values))

    def _learn(self, values: pd.Series) -> State:
        numbers = self._transformed(values)
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            return self.State()
        scale = max(1.0, float(np.abs(numbers).max()) / MAX_SQUARED)
        numbers = numbers / scale
        mean, std = float(numbers.mean()), float(numbers.std())
        is_constant = std <= ROUNDING * abs(mean)
        return self.State(mean=mean * scale, std=1.0 if is_constant else std * scale)

    def _encode(self, values: pd.Series) -> Tensor:
        numbers, mean = self._transformed(values), self.state.mean
        absent = np.isnan(numbers)
        with np.errstate(over="ignore"):  # infinite values are clipped
            scaled = np.clip((np.where(absent, mean, numbers) - mean) / self.state.std, -LARGEST, LARGEST)
        return torch.from_numpy(np.stack([scaled, absent], axis=1).astype(np.float32))

    def _transformed(self, values: pd.Series) -> FloatArray:
        numbers = as_finite_numbers(values)
        if self.config.transform == "none":
            return numbers
        return np.log1p(np.where(numbers > -1, numbers, np.nan))
