"""What may be an id: a whole number or a text, of one kind in a column."""

from typing import Any

import numpy as np
import pandas as pd

from twotower.errors import InputError

MAX_LENGTH = 256
"""Characters of a text id; longer ones are texts, not keys, and would bloat every map from ids to rows."""


def place(frame: pd.DataFrame, position: int) -> str:
    """Return where a row of a table is, as a message says it: the value of a named index, or its number."""
    index = frame.index
    return f"row {position + 1}" if index.name is None else f"{index.name} {index[position]}"


def checked_ids(frame: pd.DataFrame, key: str, origin: str) -> pd.Series:
    """Return an id column as int64 or as text.

    Raises:
        InputError: an id is missing, a fraction, neither a whole number nor text, too long, or of another
            kind than the ids before it.
    """
    values = frame[key]
    if pd.api.types.is_bool_dtype(values.dtype) or not (
        pd.api.types.is_integer_dtype(values.dtype) or _may_hold_text(values)
    ):
        position = int(values.isna().to_numpy().argmax())
        raise _refusal(frame, key, origin, position)
    if values.isna().any():
        raise _refusal(frame, key, origin, int(values.isna().to_numpy().argmax()))
    if pd.api.types.is_integer_dtype(values.dtype):
        return _as_int64(frame, key, origin)
    objects = values.to_numpy(dtype=object)
    if len(objects) and _is_whole(objects[0]):
        wrong = np.array([not _is_whole(value) for value in objects])
        if not wrong.any():
            return _as_int64(frame.assign(**{key: pd.Series(list(objects), index=frame.index)}), key, origin)
    else:
        wrong = np.array([not _is_text(value) for value in objects], dtype=np.bool_)
    if wrong.any():
        raise _refusal(frame, key, origin, int(wrong.argmax()))
    return values.astype("str")


def _may_hold_text(values: pd.Series) -> bool:
    return pd.api.types.is_string_dtype(values.dtype) or pd.api.types.is_object_dtype(values.dtype)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and "\0" not in value


def _as_int64(frame: pd.DataFrame, key: str, origin: str) -> pd.Series:
    values = frame[key]
    limit = np.iinfo(np.int64).max
    if len(values) and int(values.max()) > limit:
        position = int((values > limit).to_numpy().argmax())
        raise InputError(
            f"{origin}: column {key!r}, {place(frame, position)}: {values.iloc[position]} does not fit "
            "64 bits; store these ids as text"
        )
    return values.astype(np.int64)


def _refusal(frame: pd.DataFrame, key: str, origin: str, position: int) -> InputError:
    value = frame[key].iloc[position]
    missing = bool(frame[key].isna().iloc[position])
    found = "nothing (NaN)" if missing else f"{value!r:.80} ({type(value).__name__})"
    return InputError(
        f"{origin}: column {key!r}, {place(frame, position)}: ids must be whole numbers or text (1 to "
        f"{MAX_LENGTH} characters), of one kind in a column; found {found}"
    )
