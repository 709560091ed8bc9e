"""A quantity: a price, an age, a year."""

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from twotower.features.feature import BoolArray, Feature, Missing
from twotower.features.raw_numbers import FloatArray, as_finite_numbers

LARGEST = 10.0
"""Values further than this many standard deviations from the mean are cut off: serving sees typing errors."""
SQUARED_SAFELY = 1e100
"""The squares of many numbers up to this one still have a sum."""


class Numeric(Feature):
    """The standardised value, and whether it is missing: (value - mean) / std of train, 0 where missing.

    Args:
        column: see `Feature`.
        transform: `log1p` takes log(1 + value) first, for amounts that span magnitudes; they must exceed -1.
        missing: see `Feature`.
    """

    def __init__(
        self, *, column: str, transform: Literal["none", "log1p"] = "none", missing: Missing = "error"
    ) -> None:
        super().__init__(column=column, missing=missing)
        self.transform = transform
        self.mean = 0.0
        self.std = 1.0

    @property
    def expected(self) -> str:
        """What a value must be."""
        return "a finite number" + (" above -1 (for log1p)" if self.transform == "log1p" else "")

    @property
    def output_dim(self) -> int:
        """Two: the value and whether it is missing."""
        return 2

    def encoder(self) -> nn.Module:
        """Return the identity: the encoded value is the block."""
        return nn.Identity()

    def state(self) -> dict[str, Any]:
        """Return mean and standard deviation of train."""
        return {"mean": self.mean, "std": self.std}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take mean and standard deviation."""
        self.mean, self.std = state["mean"], state["std"]

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.isnan(self._transformed(values))

    def _learn(self, values: pd.Series) -> None:
        numbers = self._transformed(values)
        known = numbers[~np.isnan(numbers)]
        if len(known):
            scale = max(1.0, float(np.abs(known).max()) / SQUARED_SAFELY)
            self.mean = float((known / scale).mean() * scale)
            self.std = float((known / scale).std() * scale) or 1.0

    def _encode(self, values: pd.Series) -> Tensor:
        numbers = self._transformed(values)
        absent = np.isnan(numbers)
        with np.errstate(over="ignore"):  # infinite is beyond LARGEST, too
            scaled = np.clip((np.where(absent, self.mean, numbers) - self.mean) / self.std, -LARGEST, LARGEST)
        return torch.from_numpy(np.stack([scaled, absent], axis=1).astype(np.float32))

    def _transformed(self, values: pd.Series) -> FloatArray:
        numbers = as_finite_numbers(values)
        if self.transform == "none":
            return numbers
        return np.log1p(np.where(numbers > -1, numbers, np.nan))
