"""Dates: of a release, of birth, of the first order."""

import re
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from twotower.data.times import ISO, SECONDS_A_DAY, parsed_dates
from twotower.model.features.binned import Binned
from twotower.model.features.raw_values import FloatArray

DATE_CODE = re.compile("%[YyGmbBdj]")


def _format(setting: str) -> str:
    reason = "" if setting == ISO or DATE_CODE.search(setting) else "no code of a date"
    try:
        parsed_dates(pd.Series(["0"]), setting)
    except ValueError as error:
        reason = str(error)
    if reason:
        expected = f"codes of strftime, like %d.%m.%Y ({reason})"
        raise PydanticCustomError("date_format", "{expected}", {"expected": expected})
    return setting


class Date(Binned):
    """A learned embedding for each quantile bin of the training dates; bin 0 = missing."""

    class Config(Binned.Config):
        format: Annotated[str, AfterValidator(_format)] = ISO
        """Format of dates that are texts, in the codes of `strftime`: `%d.%m.%Y` for 31.05.2024. `ISO8601`
        reads 2024-05-31 and 2024-05-31T12:00:00Z."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        form = config.format
        self.expected = (
            "a date in ISO 8601, like 2024-05-31" if form == ISO else f"a date of the format {form}"
        )

    def _numbers(self, values: pd.Series) -> FloatArray:
        """Return days since 1970 [n], NaN if a value is not a date."""
        if pd.api.types.is_float_dtype(values.dtype):  # 20240531 beside missing values, but not 2024.10
            values = values.where(values % 1 == 0).astype("Int64")
        if values.dtype == object:  # which may hold text that Arrow refuses
            values = values.map(lambda value: str(value).encode(errors="replace").decode())
        dates = parsed_dates(values, self.config.format).astype("datetime64[us, UTC]")
        seconds = dates.to_numpy(dtype="datetime64[us]").astype(np.float64) / 10**6
        return np.where(dates.isna(), np.nan, seconds / SECONDS_A_DAY)
