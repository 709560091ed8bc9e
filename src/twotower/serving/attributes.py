"""Raw values of items or users by row, conditions on them, and their columns as filters show them.

Shapes: n rows from row 1.
"""

import datetime
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.data.times import parsed_dates
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.raw_values import as_numbers, is_value
from twotower.model.features.tags import Tags
from twotower.model.features.vector import Vector
from twotower.serving.live_items import as_label

TAG_SEPARATOR = "|"
"""Text that contains it is split into tags, unless a feature reads the column."""
MAX_FACET_VALUES = 200

Mask = NDArray[np.bool_]


class Numbers:
    """A column of numbers: a condition is a number, a list, or inclusive bounds. Missing values meet none."""

    kind = "number"

    def __init__(self, name: str, values: pd.Series) -> None:
        self.name, self.num_rows = name, len(values)
        self._values = as_numbers(values).astype(np.float64)
        self._truths = truths(values)
        # Numbers of requests are rounded like the column: 0.1 is not the float32 nearest to it.
        short = {np.dtype(kind): kind for kind in (np.float16, np.float32)}
        self._round = (
            short.get(values.dtype, np.float64) if isinstance(values.dtype, np.dtype) else np.float64
        )

    def extend(self, values: Sequence[Any]) -> None:
        """Append the raw values of the next rows."""
        end = self.num_rows + len(values)
        if end > len(self._values):
            self._values = np.pad(self._values, (0, end + end // 4 - len(self._values)))
        added = as_numbers(pd.Series(list(values), dtype=object))
        self._values[self.num_rows : end] = added.astype(self._round)
        self.num_rows = end

    def matches(self, condition: Any, num_rows: int) -> Mask:
        """Return which rows meet a condition, [num_rows]. Raises InputError: the condition is invalid."""
        values = self._values[:num_rows]
        if not isinstance(condition, Mapping):
            return np.isin(values, np.array([self._number(each) for each in _several(condition)], np.float64))
        if not condition or set(condition) - {"min", "max"}:
            raise _refusal(self, '{"min": number}, {"max": number} or both', dict(condition))
        lowest = self._number(condition.get("min", -math.inf))
        highest = self._number(condition.get("max", math.inf))
        if lowest > highest:
            raise _refusal(self, "a min that is not above the max", dict(condition))
        found: Mask = (values >= lowest) & (values <= highest)
        return found

    def accepts(self, value: Any) -> bool:
        """Return whether a raw value has the type of the column."""
        return isinstance(value, int | float | np.number) and math.isfinite(value)

    def facet(self) -> dict[str, Any]:
        """Return the smallest and the largest number, None if there is none."""
        numbers = self._values[: self.num_rows]
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return {"min": None, "max": None}
        return {"min": float(numbers.min()), "max": float(numbers.max())}

    def _number(self, value: Any) -> float:
        try:
            number = float(value) if isinstance(value, Real | np.bool_) else math.nan
        except OverflowError:
            number = math.nan
        if math.isnan(number) or (isinstance(value, bool | np.bool_) and not self._truths):
            what = "true, false" if self._truths else "a number"
            raise _refusal(self, f'{what}, a list of these, or {{"min": number, "max": number}}', value)
        return float(self._round(number))


class Values:
    """A column of text, or of tags (split by `tags`): a condition is a value or a list of values.

    The rows of each value are stored, so that a condition reads only its own rows.
    """

    def __init__(self, name: str, values: pd.Series, tags: Tags | None) -> None:
        self.name, self.num_rows = name, len(values)
        self.kind = "text" if tags is None else "tags"
        self._tags = tags
        parts = values.astype(object).reset_index(drop=True)
        if tags is not None:
            parts = parts.map(self._parts).explode()
        codes, distinct = pd.factorize(parts)
        self._codes = {value: code for code, value in enumerate(distinct)}
        present = codes >= 0
        self._rows = parts.index.to_numpy()[present][np.argsort(codes[present], kind="stable")]
        self._ends = np.cumsum(np.bincount(codes[present], minlength=len(distinct)))
        self._added: dict[Any, list[int]] = {}

    def extend(self, values: Sequence[Any]) -> None:
        """See `Numbers.extend`."""
        for position, value in enumerate(values, start=self.num_rows):
            for part in self._parts(value):
                self._added.setdefault(part, []).append(position)
        self.num_rows += len(values)

    def matches(self, condition: Any, num_rows: int) -> Mask:
        """See `Numbers.matches`."""
        found = np.zeros(num_rows, dtype=np.bool_)
        for value in _several(condition):
            is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not (isinstance(value, str) or (self._tags is not None and is_number)):
                raise _refusal(self, "a text or a list of texts", value)
            code = self._codes.get(value)
            if code is not None:
                start = self._ends[code - 1] if code else 0
                found[self._rows[start : self._ends[code]]] = True
            found[self._added.get(value, [])] = True
        return found

    def accepts(self, value: Any) -> bool:
        """See `Numbers.accepts`."""
        is_list = self._tags is not None and isinstance(value, list | tuple)
        return isinstance(value, str) or (is_list and all(map(is_value, value)))

    def facet(self) -> dict[str, Any]:
        """Return the values with their counts, the most frequent first; None if there are too many."""
        if len(self._codes.keys() | self._added.keys()) > MAX_FACET_VALUES:
            return {"values": None}
        counts = Counter({value: len(rows) for value, rows in self._added.items()})
        counts.update(dict(zip(self._codes, np.diff(self._ends, prepend=0).tolist(), strict=True)))
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        return {"values": [{"value": plain(value), "count": number} for value, number in ordered]}

    def _parts(self, value: Any) -> list[Any]:
        if self._tags is not None:
            return list({part for part in self._tags.tokens(value) if is_value(part)})
        return [] if as_label(value) is None else [value]


AttributeColumn = Numbers | Values


def _refusal(column: AttributeColumn, expected: str, found: Any) -> InputError:
    return InputError(
        f"where: column {column.name!r} holds {column.kind}: expected {expected}, got {found!r:.80}"
    )


def make_column(
    name: str, values: pd.Series, feature: object | None, is_label: bool
) -> AttributeColumn | None:
    """Return a column that conditions can filter by; None for vectors, dates and other values.

    Args:
        name: of the column.
        values: raw values by row.
        feature: the feature that reads the column, if any.
        is_label: whether the column is the label of items, which is never split into tags.
    """
    if isinstance(feature, Vector):
        return None
    if isinstance(feature, Tags):
        return Values(name, values, feature)
    dtype = values.dtype
    if pd.api.types.is_numeric_dtype(dtype) or truths(values):
        return Numbers(name, values)
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return None
    tags = Tags(Tags.Config(column=name, dim=1, separator=TAG_SEPARATOR))
    present = values[values.notna()]
    first = next((value for value in present if np.size(value)), "")
    if isinstance(first, str):
        several = not is_label and any(TAG_SEPARATOR in str(value) for value in present)
        return Values(name, values, tags if several else None)
    if isinstance(first, list | tuple | np.ndarray) and is_value(first[0]):
        return Values(name, values, tags)
    return None


def truths(values: pd.Series) -> bool:
    """Return whether a column contains only true and false."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return True
    present = values[values.notna()] if values.dtype == object else values[:0]
    return len(present) > 0 and all(isinstance(value, bool | np.bool_) for value in present)


class Attributes:
    """Raw values by row: first the rows of a table, then `records`, one for each later row.

    A column is prepared when a request first names it. Reading is thread-safe; appending to `records` is not.

    Args:
        table: raw values of the bundle, without the ids.
        features: features that read the columns.
        label: column that names an item for people, if there is one.
        records: raw values of later rows; the owner appends to it.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        features: FeatureTable,
        label: str | None,
        records: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._table = table
        self.columns = list(map(str, table.columns))  # including those that conditions cannot name
        self._label = label
        self._features = {feature.column: feature for feature in features.features.values()}
        self._records = records
        self._prepared: dict[str, AttributeColumn | None] = {}
        self._dates: set[str] = set()
        self._lock = threading.RLock()

    @property
    def kinds(self) -> dict[str, str]:
        """Columns that conditions can name -> `text`, `number` or `tags`."""
        found = {name: self._column(name) for name in self.columns}
        return {name: column.kind for name, column in found.items() if column is not None}

    def facets(self) -> list[dict[str, Any]]:
        """Describe the columns that conditions can name: name, kind, `is_label`, and their values.

        Numbers have `min` and `max`, other columns `values` with counts, None if there are more than 200.
        """
        with self._lock:
            return [
                {"name": name, "kind": column.kind, "is_label": name == self._label, **column.facet()}
                for name in self.columns
                if (column := self._column(name)) is not None
            ]

    def of(self, row: int) -> dict[str, Any]:
        """Return the raw values of a row as plain values, None where one is missing."""
        if row <= len(self._table):
            return {name: plain(self._table[name].iat[row - 1]) for name in self.columns}
        record = self._records[row - len(self._table) - 1]
        return {name: plain(record.get(name)) for name in self.columns}

    def is_latest(self, row: int, record: Mapping[str, Any]) -> bool:
        """Return whether a row was added with these raw values."""
        if (position := row - len(self._table) - 1) < 0:
            return False
        before, now = (
            {name: plain(value) for name, value in each.items()} for each in (self._records[position], record)
        )
        return before == now

    def check(self, record: Mapping[str, Any]) -> None:
        """Raise InputError if a value of a column that no feature reads has another type than the column."""
        for name in set(record) - set(self._features):
            column, value = self._column(name), pd.Series([record[name]], dtype=object).dropna()
            if name in self._dates and parsed_dates(value).isna().any():
                raise InputError(
                    f"features: column {name!r} holds dates, found {record[name]!r:.80}; write 2024-05-31"
                )
            if column is not None and not column.accepts(record[name]):
                raise InputError(
                    f"features: column {name!r} holds {column.kind}, found {record[name]!r:.80}; "
                    "correct the value"
                )

    def matches(self, where: Mapping[str, Any], num_rows: int) -> Mask:
        """Return which rows meet all conditions, [num_rows]; see `Request.where`. Raises InputError."""
        if not isinstance(where, Mapping):
            raise InputError(f'where: expected {{"column": condition}}, got {where!r:.80}')
        found = np.ones(num_rows, dtype=np.bool_)
        for name, condition in where.items():
            column = self._column(name) if name in self.columns else None
            if column is None:
                raise InputError(
                    f"where: {name!r:.80} is no column that conditions can name; "
                    f"{nearest(str(name), self.kinds)}"
                )
            found &= column.matches(condition, num_rows)
        return found

    def _column(self, name: str) -> AttributeColumn | None:
        with self._lock:
            if name not in self._prepared:
                feature = self._features.get(name)
                self._prepared[name] = make_column(name, self._table[name], feature, name == self._label)
                first = self._table[name].dropna().head(1)
                is_time = pd.api.types.is_datetime64_any_dtype(first.dtype)
                if self._prepared[name] is None and (is_time or isinstance(first.squeeze(), datetime.date)):
                    self._dates.add(name)
            column = self._prepared[name]
            if column is not None:
                records = self._records[column.num_rows - len(self._table) :]
                column.extend([record.get(name) for record in records])
            return column


def plain(value: Any) -> Any:
    """Return a raw value as a JSON value; None if it is missing or not finite."""
    if isinstance(value, np.ndarray | list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, np.floating):
        value = float(str(value))  # the shortest decimals: 0.1, not the float32 nearest to it
    elif isinstance(value, np.generic):
        value = value.item()
    if as_label(value) is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)


def _several(condition: Any) -> list[Any]:
    if isinstance(condition, list | tuple | set | frozenset | np.ndarray):
        return list(condition)
    return [condition]
