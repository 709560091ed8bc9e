"""Infers the time column of a log."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from twotower.commands.init.role_names import NONE, Roles, chosen_column, free_columns, named_columns
from twotower.commands.init.sample import Column, Sample
from twotower.config.problems import Problem
from twotower.data.times import LATEST, SECONDS_A_DAY, YEAR

ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
OTHER_DATE = r"\d{1,4}[./]\d{1,2}[./]\d{1,4}.*"
FACTORS = {"s": 1, "ms": 1000}
UNITS = {"s": "seconds since 1970", "ms": "milliseconds since 1970", "iso": "dates in ISO 8601"}
EARLIEST_LOG, LONGEST_LOG = 25 * YEAR, 25 * YEAR
"""Numbers in a column of any name are times if they begin after 1995 and span less than 25 years."""


def take_time(log: Sample, flags: Mapping[str, Any], roles: Roles) -> None:
    """Give the role `time` to the column that the user names, or that name and values, or values, suggest."""
    named = chosen_column("time", log, flags)
    if flags.get("time") == NONE or (flags.get("time") and named is None):
        return
    columns = [named] if named else named_columns("time", log, roles)
    fitting = [column for column in columns if unit_of(column)]
    if not named and not fitting:
        fitting = [column for column in free_columns(log, roles) if _holds_times(column)]
    if len(fitting) == 1:
        column = fitting[0]
        roles.unit = flags.get("unit") or unit_of(column) or "iso"
        roles.take("time", column.name, "set by a flag" if named else _because(column, roles.unit))
    elif fitting:
        shown = "; ".join(column.examples() for column in fitting)
        roles.questions.append(Problem("--time", f"several columns hold times: {shown}; add --time COLUMN"))
    else:
        _ask(columns or list(log.columns.values()), bool(columns), roles)


def unit_of(column: Column) -> str | None:
    """Return the unit of times: s, ms or iso; None if the values are not readable as times."""
    numbers = column.numbers
    if numbers is not None:
        middle = float(numbers.median()) if len(numbers) else 0
        units = (unit for unit, factor in FACTORS.items() if 5 * YEAR * factor < middle < LATEST * factor)
        return next(units, None)
    if pd.api.types.is_datetime64_any_dtype(column.values.dtype):
        return "iso"
    texts = column.values.astype("str")
    return "iso" if len(texts) and texts.str.fullmatch(ISO).all() else None


def _holds_times(column: Column) -> bool:
    """Return whether values are times, independent of the column name; long keys are numbers, too."""
    unit, numbers = unit_of(column), column.numbers
    if unit is None or numbers is None:
        return unit is not None
    first, last = float(numbers.min()) / FACTORS[unit], float(numbers.max()) / FACTORS[unit]
    return (
        column.is_whole
        and not column.is_key
        and first > EARLIEST_LOG
        and last < LATEST
        and SECONDS_A_DAY < last - first < LONGEST_LOG
    )


def _because(column: Column, unit: str) -> str:
    if column.numbers is None:
        return f"it holds {UNITS[unit]}"
    first, last = (
        np.datetime64(int(value) // FACTORS[unit], "s").astype("datetime64[D]")
        for value in (column.numbers.min(), column.numbers.max())
    )
    return f"it holds {UNITS[unit]}, here from {first} to {last}"


def _ask(columns: list[Column], is_set: bool, roles: Roles) -> None:
    for column in columns:
        if column.name in roles.columns.values():
            continue
        if len(column.values) and column.values.astype("str").str.fullmatch(OTHER_DATE).all():
            problem = "holds dates that are read only as 2024-05-31 or 2024-05-31T12:00:00"
        elif is_set:
            problem = "is called a time, but holds neither seconds nor milliseconds since 1970 nor such dates"
        else:
            continue
        remedy = "write them so, or add --time none if rows are in order"
        roles.questions.append(Problem("--time", f"{column.examples()} {problem}; {remedy}"))
