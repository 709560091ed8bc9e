"""Raw values of items or users, and conditions on them.

Shapes: n rows of the catalogue.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twotower.config.errors import InputError
from twotower.features.feature_table import FeatureTable
from twotower.features.raw_values import is_value
from twotower.serving.attribute_columns import AttributeColumn, Mask, Numbers, make_column
from twotower.serving.live_items import as_label
from twotower.serving.requests import choices


class Attributes:
    """Raw values by row: first those of a table, then `records`, one for each later row.

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
        self.columns = set(map(str, table.columns))  # including those that conditions cannot name
        self._label = label
        self._features = {feature.column: feature for feature in features.features.values()}
        self._records = records
        self._columns: dict[str, tuple[AttributeColumn | None, int]] = {}
        self._lock = threading.Lock()

    @property
    def kinds(self) -> dict[str, str]:
        """Columns that conditions can name -> `text`, `number` or `tags`."""
        found = {name: self._column(name) for name in map(str, self._table.columns)}
        return {name: column.kind for name, column in found.items() if column is not None}

    def of(self, row: int) -> dict[str, Any]:
        """Return the raw values of a row as plain values, None where one is missing."""
        num_known = len(self._table)
        if row <= num_known:
            given: Mapping[str, Any] = {str(name): self._table[name].iat[row - 1] for name in self._table}
        else:
            given = self._records[row - num_known - 1]
        return {name: plain(given.get(name)) for name in map(str, self._table.columns)}

    def is_latest(self, row: int, record: Mapping[str, Any]) -> bool:
        """Return whether a row was added with these raw values."""
        place = row - len(self._table) - 1
        same = place >= 0 and self._records[place].keys() == record.keys()
        return same and all(plain(self._records[place][name]) == plain(record[name]) for name in record)

    def check(self, record: Mapping[str, Any]) -> None:
        """Raise InputError if a value of a column that no feature reads has another type than the column."""
        for name in set(record) - set(self._features):
            column = self._column(name)
            value = record[name]
            number = isinstance(value, int | float | np.number) and math.isfinite(value)
            valid = number if isinstance(column, Numbers) else isinstance(value, str)
            if column is not None and column.kind == "tags":
                valid = isinstance(value, str) or (
                    isinstance(value, list | tuple) and all(map(is_value, value))
                )
            if column is not None and not valid:
                raise InputError(
                    f"features: column {name!r} holds {column.kind}, found {value!r:.80}; correct the value"
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
                    f"where: {name!r:.80} is no column that conditions can name; {choices(name, self.kinds)}"
                )
            found &= column.matches(condition, num_rows)
        return found

    def _column(self, name: str) -> AttributeColumn | None:
        with self._lock:
            if name not in self._columns:
                is_label = name == self._label
                feature = self._features.get(name)
                self._columns[name] = make_column(name, self._table[name], feature, is_label), 0
            column, num_taken = self._columns[name]
            records = self._records[num_taken:]
            if column is not None and records:
                column.extend([record.get(name) for record in records])
                self._columns[name] = column, num_taken + len(records)
            return column


def plain(value: Any) -> Any:
    """Return a raw value as a JSON value; None if it is missing or not finite."""
    if isinstance(value, np.ndarray | list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if as_label(value) is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)
