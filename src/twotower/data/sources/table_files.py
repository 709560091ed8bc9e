"""The user's own data: a file of interactions, perhaps files of users and of items."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from twotower.config.errors import InputError
from twotower.config.problems import Gathered
from twotower.config.spec import PositiveInt
from twotower.data.column import Column
from twotower.data.fingerprints import arguments_of, fingerprint_of
from twotower.data.separators import separator_hint, separator_of, separator_problem
from twotower.data.sources.source import Source
from twotower.data.table_columns import IdColumn, TimestampUnit, seconds, tags, unify_ids
from twotower.data.table_reader import check_kind, column_problems, header, is_parquet, read, typed
from twotower.data.tables import ITEM_ID, SPLIT, TIMESTAMP, USER_ID, Tables, entities_of, missing_columns
from twotower.files.atomic import sha256_of_file

PARAMETERS = {
    USER_ID: "user_column",
    ITEM_ID: "item_column",
    TIMESTAMP: "timestamp_column",
    SPLIT: "split_column",
}
NOT_IN_FINGERPRINT = ("interactions_path", "users_path", "items_path", "chunk_rows")


class TableFiles(Source):
    """Interactions, users and items from CSV (`.csv`, `.tsv`, also `.gz`) or Parquet files.

    In CSV the ids of a column are whole numbers if all of them are, in every file; otherwise text. Columns of
    users and items become numbers where every value is one, and stay text otherwise.

    Args:
        interactions_path: one row an interaction, in any order; equal times of a user keep the row order.
        users_path: one row a user; without it users have no features.
        items_path: one row an item, the catalogue; without it the items of the interactions.
        user_column: of user ids, in interactions and users.
        item_column: of item ids, in interactions and items.
        timestamp_column: of the interactions.
        timestamp_unit: `s` or `ms` since 1970, or `iso` dates and times (no zone means UTC).
        split_column: of the interactions, with the words train, valid, test; for split=given.
        user_features: columns of users to read; None for all.
        item_features: columns of items to read; None for all.
        tag_columns: columns of users or items that hold several values in one text.
        tag_separator: between them.
        item_label: column of items that names an item for people.
        separator: of CSV fields.
        chunk_rows: rows of CSV parsed at a time.
    """

    def __init__(
        self,
        *,
        interactions_path: str,
        users_path: str | None = None,
        items_path: str | None = None,
        user_column: str = USER_ID,
        item_column: str = ITEM_ID,
        timestamp_column: str = TIMESTAMP,
        timestamp_unit: TimestampUnit = "s",
        split_column: str | None = None,
        user_features: list[str] | None = None,
        item_features: list[str] | None = None,
        tag_columns: list[str] | None = None,
        tag_separator: str = "|",
        item_label: str | None = None,
        separator: str = ",",
        chunk_rows: PositiveInt = 1_000_000,
    ) -> None:
        self.interactions_path = interactions_path
        self.users_path = users_path
        self.items_path = items_path
        self.user_column = user_column
        self.item_column = item_column
        self.timestamp_column = timestamp_column
        self.timestamp_unit: TimestampUnit = timestamp_unit
        self.split_column = split_column
        self.user_features = user_features
        self.item_features = item_features
        self.tag_columns = tag_columns
        self.tag_separator = tag_separator
        self.item_label = item_label
        self.separator = separator
        self.chunk_rows = chunk_rows

    def load(self) -> Tables:
        """Read the files, columns under the names of `Tables`."""
        self._refuse_problems()
        interactions, users, items = self._read_all()
        faults: dict[tuple[str, str], str] = {}
        for key, name, table in ((USER_ID, "users", users), (ITEM_ID, "items", items)):
            faults |= self._unify(key, {"interactions": interactions, name: table})
        times = Column(interactions, TIMESTAMP, self.interactions_path, self.timestamp_column)
        try:
            interactions[TIMESTAMP] = seconds(times, self.timestamp_unit)
        except InputError as error:
            faults["interactions", TIMESTAMP] = str(error)
        return Tables(
            interactions=interactions,
            users=entities_of(interactions, USER_ID) if users is None else users,
            items=entities_of(interactions, ITEM_ID) if items is None else items,
            faults=faults,
            origins={
                "interactions": self.interactions_path,
                "users": self.users_path or self.interactions_path,
                "items": self.items_path or self.interactions_path,
            },
            item_label=self.item_label,
            file_columns={standard: column for column, standard in self._names().items()},
        )

    def problems(self) -> list[tuple[str, str]]:
        """Find missing files and columns, from the headers alone."""
        wrong = separator_problem(self.separator)
        found = [*([("separator", wrong)] if wrong else []), *self._role_problems()]
        needed = {PARAMETERS[standard]: [column] for column, standard in self._names().items()}
        found += self._header_problems("interactions_path", needed)
        users = {"user_column": [self.user_column], "user_features": self.user_features}
        found += self._header_problems("users_path", users)
        items = {"item_column": [self.item_column], "item_features": self.item_features}
        found += self._header_problems("items_path", items)
        columns = None if found else self.columns()
        if columns is not None:
            everywhere = sorted(columns["users"] | columns["items"])
            for parameter, present, named in (
                ("tag_columns", everywhere, self.tag_columns or []),
                ("item_label", sorted(columns["items"]), [self.item_label] if self.item_label else []),
            ):
                problem = missing_columns(present, named)
                found += [(parameter, f"among the columns that are read, {problem}")] if problem else []
        return found

    def gives_split(self) -> bool:
        """Tell whether a split column is named."""
        return self.split_column is not None

    def columns(self) -> dict[str, set[str]] | None:
        """Return the columns that `load` will give users and items, from the headers, or None."""
        if separator_problem(self.separator):
            return None
        try:
            return {
                "users": {USER_ID, *self._features(self.users_path, self.user_column, self.user_features)},
                "items": {ITEM_ID, *self._features(self.items_path, self.item_column, self.item_features)},
            }
        except InputError:
            return None

    def fingerprint(self) -> str:
        """Return a SHA-256 over the arguments and the content of the files, not their places.

        Raises:
            InputError: a file is missing.
        """
        self._refuse_problems()
        arguments = {key: value for key, value in arguments_of(self).items() if key not in NOT_IN_FINGERPRINT}
        paths = [self.interactions_path, self.users_path, self.items_path]
        content = [[Path(path).name, sha256_of_file(Path(path))] if path else None for path in paths]
        return fingerprint_of([arguments, content])

    def _refuse_problems(self) -> None:
        Gathered("the data", (message for _, message in self.problems())).tell()

    def _role_problems(self) -> list[tuple[str, str]]:
        columns = self._log_columns()
        twice = next((column for column in columns if columns.count(column) > 1), None)
        return [("user_column", f"column {twice!r} has two roles; each role needs its own")] if twice else []

    def _log_columns(self) -> list[str]:
        columns = [self.user_column, self.item_column, self.timestamp_column]
        return columns + ([self.split_column] if self.split_column else [])

    def _names(self) -> dict[str, str]:
        """Return column of the files -> name in `Tables`."""
        return dict(zip(self._log_columns(), (USER_ID, ITEM_ID, TIMESTAMP, SPLIT), strict=False))

    def _header_problems(
        self, parameter: str, needed: Mapping[str, list[str] | None]
    ) -> list[tuple[str, str]]:
        path: str | None = getattr(self, parameter)
        if path is None:
            return []
        try:
            check_kind(Path(path))
            if separator_problem(self.separator):
                return []
            present = header(Path(path), separator_of(self.separator))
        except InputError as error:
            return [(parameter, str(error))]
        hint = "" if is_parquet(Path(path)) else separator_hint(present)
        return [
            (name, f"{path}: {problem}{hint}")
            for name, columns in needed.items()
            for problem in column_problems(present, present if columns is None else columns)
        ]

    def _features(self, path: str | None, key: str, chosen: list[str] | None) -> list[str]:
        if path is None:
            return []
        present = header(Path(path), separator_of(self.separator)) if chosen is None else chosen
        return [name for name in present if name not in (key, USER_ID, ITEM_ID)]

    def _read(self, path: str, columns: list[str]) -> pd.DataFrame:
        keys = [self.user_column, self.item_column]
        return read(Path(path), columns, separator_of(self.separator), self.chunk_rows, keys)

    def _read_all(self) -> tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None]:
        """Read the three files; those that cannot be read are told together."""
        told = Gathered("the data")
        users = items = None
        with told.refusals():
            interactions = self._read(self.interactions_path, self._log_columns()).rename(
                columns=self._names()
            )
        with told.refusals():
            users = self._entities(self.users_path, self.user_column, self.user_features)
        with told.refusals():
            items = self._entities(self.items_path, self.item_column, self.item_features)
        told.tell()
        return interactions, users, items

    def _entities(self, path: str | None, key: str, chosen: list[str] | None) -> pd.DataFrame | None:
        if path is None:
            return None
        features = self._features(path, key, chosen)
        frame = self._read(path, [key, *features])
        for name in features:
            if name in (self.tag_columns or []):
                frame[name] = tags(frame[name], self.tag_separator)
            elif not is_parquet(Path(path)) and name != self.item_label:
                frame[name] = typed(frame[name])
        return frame.rename(columns={key: self._names()[key]})

    def _unify(self, key: str, tables: dict[str, pd.DataFrame | None]) -> dict[tuple[str, str], str]:
        """Make the ids of all tables of one type; returns (table, key) -> what is wrong with its ids."""
        columns, faults = [], {}
        for table, frame in tables.items():
            place: str | None = getattr(self, f"{table}_path")
            if frame is None or place is None:
                continue
            name = self.user_column if key == USER_ID else self.item_column
            try:
                columns.append(IdColumn(Column(frame, key, place, name), untyped=not is_parquet(Path(place))))
            except InputError as error:
                faults[table, key] = str(error)
        if not faults:
            unify_ids(columns)
        return faults
