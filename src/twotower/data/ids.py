"""What may be an id: a whole number or a text, of one kind in a column."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.column import Column

MAX_LENGTH = 256
"""Characters of a text id; longer ones are texts, not keys, and would bloat every map from ids to rows."""
INT64 = np.iinfo(np.int64)


def checked_ids(column: Column) -> "pd.Series[Any]":
    """Return an id column as int64 or as text.

    Raises:
        InputError: an id is missing, a fraction, neither a whole number nor text, too long, or of another
            kind than the ids before it.
    """
    values = column.values
    missing = values.isna().to_numpy()
    if missing.any():
        raise _refusal(column, missing)
    if pd.api.types.is_integer_dtype(values.dtype):
        return _as_int64(column, values)
    if not (pd.api.types.is_string_dtype(values.dtype) or pd.api.types.is_object_dtype(values.dtype)):
        if len(values) == 0:
            return values.astype(np.int64)
        raise _refusal(column, np.ones(len(values), dtype=np.bool_))
    objects = values.to_numpy(dtype=object)
    whole = len(objects) > 0 and is_whole(objects[0])
    fits = is_whole if whole else is_text_id
    wrong = np.array([not fits(value) for value in objects], dtype=np.bool_)
    if wrong.any():
        raise _refusal(column, wrong)
    return _as_int64(column, values.infer_objects()) if whole else values.astype("str")


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number; true and false are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def fits_64_bits(number: int) -> bool:
    """Tell whether a whole number, however long, is one that int64 holds."""
    return INT64.min <= number <= INT64.max


def is_text_id(value: Any) -> bool:
    """Tell whether a value is a text that may be an id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and "\0" not in value


def _as_int64(column: Column, values: "pd.Series[Any]") -> "pd.Series[int]":
    outside = ((values > INT64.max) | (values < INT64.min)).to_numpy(dtype=np.bool_)
    if outside.any():
        position = int(outside.argmax())
        raise column.refusal(
            position,
            f"{values.iloc[position]} does not fit 64 bits; store these ids as text",
            int(outside.sum()),
        )
    return values.astype(np.int64)


def _refusal(column: Column, wrong: NDArray[np.bool_]) -> InputError:
    position = int(wrong.argmax())
    return column.refusal(
        position,
        f"ids must be whole numbers or text (1 to {MAX_LENGTH} characters), of one kind in a column; "
        f"found {column.found(position)}",
        int(wrong.sum()),
    )
