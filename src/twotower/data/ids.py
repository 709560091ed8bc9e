"""What may be an id: a whole number or a text, of one kind in a column."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from twotower.data.column import Column

MAX_LENGTH = 256
"""Characters of a text id; longer ones are texts, not keys, and would bloat every map from ids to rows."""
INT64 = np.iinfo(np.int64)
WHOLE_NUMBER = r"-?[1-9]\d{0,17}|0"  # in its usual spelling; 007 is a code
DECIMAL = r"-?\d+\.0*"


def checked_ids(column: Column, is_csv: bool) -> "pd.Series[Any]":
    """Return an id column as int64 or as text.

    Raises:
        InputError: an id is missing, a fraction, neither a whole number nor text, too long, or of another
            kind than the ids before it.
    """

    def say(row: int) -> str:
        kinds = f"whole numbers or text (1 to {MAX_LENGTH} characters), of one kind in a column"
        return f"ids must be {kinds}; found {column.found(row)}"

    values = column.values
    if is_csv:
        column.refuse(
            values.str.fullmatch(DECIMAL).to_numpy(dtype=np.bool_, na_value=False),
            lambda row: (
                f"id {values.iloc[row]!r} is a decimal number; ids must be whole numbers or text (a column "
                "with gaps is often saved so: fill the gaps and save whole numbers)"
            ),
        )
    column.refuse(values.isna().to_numpy(), say)
    whole = pd.api.types.is_integer_dtype(values.dtype)
    if not whole:
        objects = values.to_numpy(dtype=object)
        whole = len(objects) > 0 and is_whole(objects[0])
        fits = is_whole if whole else is_text_id
        column.refuse(np.array([not fits(value) for value in objects], dtype=np.bool_), say)
    if not whole:
        return values.astype("str")
    numbers = values.infer_objects()
    outside = ((numbers > INT64.max) | (numbers < INT64.min)).to_numpy(dtype=np.bool_)
    column.refuse(outside, lambda row: f"{values.iloc[row]} does not fit 64 bits; store these ids as text")
    return numbers.astype(np.int64)


def unified_ids(
    ids: Mapping[str, "pd.Series[Any]"], from_csv: Collection[str]
) -> Mapping[str, "pd.Series[Any]"]:
    """Return ids as whole numbers if all of them can be, in every table: CSV cannot say which it means."""
    for table, values in ids.items():
        if table in from_csv:
            whole = bool(pd.Series(values.unique()).str.fullmatch(WHOLE_NUMBER).all())
        else:
            whole = values.dtype == np.int64
        if not whole:
            return ids
    return {table: values.astype(np.int64) for table, values in ids.items()}


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number; true and false are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def fits_64_bits(number: int) -> bool:
    """Tell whether a whole number, however long, is one that int64 holds."""
    return INT64.min <= number <= INT64.max


def is_text_id(value: Any) -> bool:
    """Tell whether a value is a text that may be an id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and "\0" not in value
