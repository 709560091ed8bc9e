"""Features of the time of a request."""

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from twotower.model.features.feature import Feature
from twotower.model.features.raw_values import as_finite_numbers


class TimeFeature(Feature):
    """A feature of the request time: reads the reserved column `request_time`, not a table.

    A subclass defines `output_dim` and `encode_times`, and `encoder` if the encoding is not the output.
    """

    class Config(Feature.Config):
        """Settings of every feature of the request time; column and missing values are fixed."""

        column: Literal["request_time"] = "request_time"
        missing: Literal["unknown"] = "unknown"
        describes_request: ClassVar[bool] = True

    expected = "unix seconds"

    @abstractmethod
    def encode_times(self, times: Tensor) -> Tensor:
        """Encode request times [B], int64 unix seconds, 0 = unknown -> [B, width]."""

    def _wrong(self, values: pd.Series) -> npt.NDArray[np.bool_]:
        return np.isnan(as_finite_numbers(values))

    def _learn(self, values: pd.Series) -> Feature.State:
        return self.State()

    def _encode(self, values: pd.Series) -> Tensor:
        seconds = np.nan_to_num(np.clip(as_finite_numbers(values), 0, 2.0**52), nan=0.0)
        return self.encode_times(torch.from_numpy(seconds.astype(np.int64)))
