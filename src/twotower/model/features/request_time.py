"""Season, day of the week and hour of the day of a request."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import NonNegativeInt
from twotower.data.sources.source import needs_times
from twotower.data.times import SECONDS_A_DAY
from twotower.model.features.feature import FeaturePlace
from twotower.model.features.time_feature import TimeFeature

YEAR_SECONDS = 31_556_952  # 365.2425 days
WEEK_SECONDS = 7 * SECONDS_A_DAY
MAX_HARMONICS = 1000
Harmonics = Annotated[NonNegativeInt, Le(MAX_HARMONICS)]
NUMBERS = torch.arange(1, MAX_HARMONICS + 1)  # made once: it takes longer than the rest of encoding a request


class RequestTime(TimeFeature):
    """Harmonics sin(k phase), cos(k phase), k = 1..n, of each cycle of the request time; 0 if unknown."""

    class Config(TimeFeature.Config):
        year: Harmonics = 4
        """Harmonics of the year; 4 distinguish months."""
        week: Harmonics = 0
        """Harmonics of the week."""
        day: Harmonics = 0
        """Harmonics of the day, in UTC."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Require harmonics, and data with times."""
            place = FeaturePlace.of(context)
            yield from super().problems(context)
            if place is not None:
                yield from needs_times(place.data, f"leave it out: '~features.{place.side}.{place.name}'")
            if not self.year + self.week + self.day:
                yield "year", "year, week and day are all 0; set one of them to 1 or more"

    config: Config

    @property
    def output_dim(self) -> int:
        """Two columns for each harmonic."""
        return 2 * (self.config.year + self.config.week + self.config.day)

    def encode_times(self, times: Tensor) -> Tensor:
        """Encode unix seconds [B], 0 or less = unknown -> [B, output_dim]."""
        waves = []
        for seconds, harmonics in (
            (YEAR_SECONDS, self.config.year),
            (WEEK_SECONDS, self.config.week),
            (SECONDS_A_DAY, self.config.day),
        ):
            if not harmonics:
                continue
            # Float32 cannot hold unix seconds, but it holds their remainder.
            phase = (times % seconds).to(torch.float32)[:, None] * (2 * torch.pi / seconds)
            angles = phase * NUMBERS[:harmonics].to(times.device)
            waves += [angles.sin(), angles.cos()]
        return torch.cat(waves, 1) * (times > 0)[:, None]
