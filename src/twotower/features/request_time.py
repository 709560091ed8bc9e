"""When the user asks: season, day of the week, hour of the day."""

from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from annotated_types import Le
from torch import Tensor, nn

from twotower.config.errors import InputError
from twotower.config.spec import Count
from twotower.features.feature import REQUEST_TIME, BoolArray, ContextFeature
from twotower.features.raw_numbers import as_finite_numbers

YEAR_SECONDS = 31_556_952  # 365.2425 days
DAY_SECONDS = 86_400
WEEK_SECONDS = 7 * DAY_SECONDS

Harmonics = Annotated[Count, Le(1000)]


class RequestTime(ContextFeature):
    """Harmonics sin(k phase), cos(k phase), k = 1..n, of each cycle of the request time; zeros if not known.

    Args:
        year: number of harmonics of the year; 4 tells months apart.
        week: number of harmonics of the week.
        day: number of harmonics of the day (UTC).
    """

    expected = "unix seconds"

    def __init__(self, *, year: Harmonics = 4, week: Harmonics = 0, day: Harmonics = 0) -> None:
        super().__init__(column=REQUEST_TIME, missing="allow")
        if year + week + day == 0:
            raise InputError("RequestTime: year, week and day are all 0; give one of them harmonics")
        self.year = year
        self.week = week
        self.day = day

    @property
    def output_dim(self) -> int:
        """Two for each harmonic."""
        return 2 * (self.year + self.week + self.day)

    def encoder(self) -> nn.Module:
        """Return the identity: the harmonics are the block."""
        return nn.Identity()

    def encode_times(self, times: Tensor) -> Tensor:
        """Encode unix seconds [B], 0 or less = not known -> [B, output_dim]."""
        waves = []
        for seconds, harmonics in (
            (YEAR_SECONDS, self.year),
            (WEEK_SECONDS, self.week),
            (DAY_SECONDS, self.day),
        ):
            if not harmonics:
                continue
            # The remainder first: float32 cannot hold unix seconds.
            phase = (times % seconds).to(torch.float32)[:, None] * (2 * torch.pi / seconds)
            angles = phase * torch.arange(1, harmonics + 1, device=times.device)
            waves += [angles.sin(), angles.cos()]
        return torch.cat(waves, 1) * (times > 0)[:, None]

    def state(self) -> dict[str, Any]:
        """Return nothing: a cycle is not learned."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take nothing."""

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.isnan(as_finite_numbers(values))

    def _learn(self, values: pd.Series) -> None:
        pass

    def _encode(self, values: pd.Series) -> Tensor:
        seconds = np.nan_to_num(np.clip(as_finite_numbers(values), 0, 2.0**52), nan=0.0)
        return self.encode_times(torch.from_numpy(seconds.astype(np.int64)))
