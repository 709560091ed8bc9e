"""The hour of the week in which a user asks."""

import torch
from torch import Tensor

from twotower.config.spec import PositiveInt
from twotower.model.features.encoders import LookupEncoder
from twotower.model.features.time_feature import TimeFeature

HOUR, HOURS_A_WEEK = 3_600, 168
MONDAY = 72  # hours from Monday 0:00 to the first second of 1970, a Thursday


class HourOfWeek(TimeFeature):
    """A learned embedding of each of the 168 hours of a week, in UTC; row 0 is an unknown time."""

    class Config(TimeFeature.Config):
        """The width."""

        dim: PositiveInt = 8
        """Width of an embedding."""

    config: Config

    @property
    def output_dim(self) -> int:
        """Width of an embedding."""
        return self.config.dim

    def encoder(self) -> LookupEncoder:
        """Return a new embedding table."""
        return LookupEncoder(HOURS_A_WEEK + 1, self.config.dim)

    def encode_times(self, times: Tensor) -> Tensor:
        """Return the row of each time, [B] unix seconds -> [B, 1]; 0 is unknown."""
        hours = (times // HOUR + MONDAY) % HOURS_A_WEEK
        return torch.where(times > 0, hours + 1, 0)[:, None]
