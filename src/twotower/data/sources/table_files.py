"""Tables of the user: files of interactions, and optional files of users and items."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.config.problems import ErrorCollector
from twotower.data.interaction_files import InteractionFiles, rows_to_stream
from twotower.data.sources.source import Source
from twotower.data.table_reader import (
    Separator,
    header,
    is_parquet,
    read_table,
    table_paths,
    table_problems,
    texts_of_one_number,
    typed,
)
from twotower.data.tables import ENTITIES, ITEM_ID, ROLES, TIMESTAMP, USER_ID, Tables, missing_columns
from twotower.data.times import TimestampUnit
from twotower.files.atomic import file_sha256
from twotower.files.plain_values import fingerprint_values

LOG = logging.getLogger("twotower")
SETTINGS = {role: f"{role.removesuffix('_id')}_column" for role in ROLES}
"""Name in `Tables` -> the setting that names the column of the interactions, such as `user_column`."""
NOT_IN_FINGERPRINT = frozenset({"interactions_path", "users_path", "items_path"})


class TableFiles(Source):
    """Interactions, users and items from CSV (`.csv`, `.tsv`, also `.gz`) or Parquet files.

    In CSV the ids of a column are whole numbers if all of them are, in every file; otherwise text. Columns of
    users, items and contexts become numbers if every value is a number, and stay text otherwise.
    """

    class Config(Source.Config):
        interactions_path: str | list[str]
        """One row per interaction, in any order; equal times of a user keep the row order. A file, a list, a
        folder or a pattern (`log/*.parquet`), sorted by name."""
        users_path: str | list[str] | None = None
        """One row per user; without it users have no features. In a list, rows replace rows of
        earlier files with the same id."""
        items_path: str | list[str] | None = None
        """One row per item, the catalogue; without it the items of the interactions. In a list, rows replace
        rows of earlier files with the same id."""
        user_column: str = USER_ID
        """Column of user ids, in interactions and users."""
        item_column: str = ITEM_ID
        """Column of item ids, in interactions and items."""
        timestamp_column: str | None = TIMESTAMP
        """Column of times; null if there are none and rows are in order."""
        ordered: bool = True
        """Whether rows without times are in the order of time; if not, a fixed random order is used."""
        timestamp_unit: TimestampUnit = "s"
        """`s` or `ms` since 1970, or `iso` dates and times (no zone means UTC)."""
        split_column: str | None = None
        """Column with the values train, valid and test, for split=given."""
        label_column: str | None = None
        """Column of labels: 1 for a click, 0 for an impression without a click; or numbers, with a
        `label_threshold`."""
        weight_column: str | None = None
        """Column of example weights, 0 or more."""
        event_column: str | None = None
        """Column of event types; `events` gives each a role."""
        context_columns: list[str] | None = None
        """Columns of the interactions that describe the request (device, place), for `features.context`."""
        user_features: list[str] | None = None
        """Columns of users to read; null for all."""
        item_features: list[str] | None = None
        """Columns of items to read; null for all."""
        tag_columns: list[str] | None = None
        """Columns of users or items that hold several values in one text."""
        tag_separator: str = "|"
        """Separator of these values."""
        text_columns: list[str] | None = None
        """Columns of users, items or contexts in CSV that stay text although they hold numbers: codes such as
        1.1 and 1.10."""
        item_label: str | None = None
        """Column of items with the display name of an item."""
        separator: Separator = ","
        """Separator of CSV fields."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Report missing files and columns; reads headers only."""
            roles, columns, problems = self.roles(), self.context_columns or [], []
            for name, number in Counter([*roles.values(), *columns]).items():
                if number > 1:
                    message = f"column {name!r} has two roles; name another column for each role"
                    problems.append(("user_column", message))
                elif name in columns and name in ROLES:
                    message = f"{name!r} is the internal name of another column; rename it in the file"
                    problems.append(("context_columns", message))
            for key, own in (("user_features", self.user_column), ("item_features", self.item_column)):
                for name in ({USER_ID, ITEM_ID} - {own}).intersection(getattr(self, key) or []):
                    message = f"{name!r} is the internal name of another column; rename it in the file"
                    problems.append((key, message))
            if not self.ordered and self.has_times():
                message = "there are times; leave this out, or set data.timestamp_column=null"
                problems.append(("ordered", message))
            log: dict[str, list[str] | None] = {SETTINGS[role]: [column] for role, column in roles.items()}
            needed: dict[str, dict[str, list[str] | None]] = {
                "interactions": log | {"context_columns": columns},
                "users": {"user_column": [self.user_column], "user_features": self.user_features},
                "items": {"item_column": [self.item_column], "item_features": self.item_features},
            }
            for table, setting in self.settings().items():
                problems += table_problems(table, setting, self.separator, needed[table])
            if not problems and (read := self.columns()) is not None:
                labels = [self.item_label] if self.item_label else []
                for key, present, names in (
                    ("tag_columns", set().union(*read.values()), self.tag_columns or []),
                    ("text_columns", set().union(*read.values()), self.text_columns or []),
                    ("item_label", read["items"], labels),
                ):
                    problem = missing_columns(sorted(present), names)
                    problems += [(key, f"among the columns that are read, {problem}")] if problem else []
            return problems

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield settings of tables and columns that the data does not have."""
            fields = type(self).model_fields
            changed = {name for name, field in fields.items() if getattr(self, name) != field.default}
            for keys, is_there, remedy in (
                (("user_features", "missing_users"), self.users_path, "there is no data.users_path"),
                (("item_features", "missing_items"), self.items_path, "there is no data.items_path"),
                (("tag_separator",), self.tag_columns, "there are no data.tag_columns"),
                (("timestamp_unit",), self.timestamp_column, "data.timestamp_column is null"),
            ):
                for key in sorted(changed.intersection(keys)) if not is_there else ():
                    yield key, remedy

        def has_times(self) -> bool:
            """Return whether there is a column of times."""
            return self.timestamp_column is not None

        def gives_negatives(self) -> bool:
            """Return whether there are labels, or an event type of role `negative`."""
            return self.label_column is not None or bool(super().gives_negatives())

        def events_of_histories(self) -> list[str] | None:
            """Return the event types that histories can hold, None if not known without reading."""
            if self.event_column is None:
                return []
            return super().events_of_histories() if self.events else None

        def gives_split(self) -> bool:
            """Return whether there is a split column."""
            return self.split_column is not None

        def columns(self) -> dict[str, set[str]] | None:
            """Return the columns that `load` reads, from the headers; None if they cannot be read."""
            try:
                users, items = ({key, *self.features(table)} for table, key in ENTITIES.items())
            except InputError:
                return None
            return {"users": users, "items": items, "context": set(self.features("interactions"))}

        def settings(self) -> dict[str, str | list[str]]:
            """Return table -> its path setting, without tables that have none."""
            paths = {table: getattr(self, f"{table}_path") for table in ("interactions", *ENTITIES)}
            return {table: path for table, path in paths.items() if path is not None}

        def table_paths(self) -> dict[str, list[Path]]:
            """Return table -> its files; raises InputError if there are none."""
            return {table: table_paths(setting) for table, setting in self.settings().items()}

        def paths(self) -> dict[str, Path]:
            """Return table -> its file, for tables in a single file."""
            return {table: each[0] for table, each in self.table_paths().items() if len(each) == 1}

        def roles(self) -> dict[str, str]:
            """Return name in `Tables` -> column of the interactions."""
            columns = {role: getattr(self, setting) for role, setting in SETTINGS.items()}
            return {role: column for role, column in columns.items() if column is not None}

        def features(self, table: str) -> list[str]:
            """Return the columns of a table that are read, without its keys."""
            if table == "interactions":
                return self.context_columns or []
            paths = self.table_paths().get(table)
            if paths is None:
                return []
            chosen = self.user_features if table == "users" else self.item_features
            keys = ("", self.roles()[ENTITIES[table]], USER_ID, ITEM_ID)
            present = header(paths[0], self.separator) if chosen is None else chosen
            return [name for name in dict.fromkeys(present) if name not in keys]

    config: Config

    def load(self) -> Tables:
        """Read the files, columns under the names of `Tables`."""
        return self._tables(self.config.table_paths())

    def interaction_files(self) -> InteractionFiles | None:
        """Return the files of long Parquet interactions of ids and times only, else None."""
        paths, roles = self.config.table_paths(), self.config.roles()
        log = paths.pop("interactions")
        is_plain = self.config.ordered and not self.config.context_columns
        num_rows = rows_to_stream(log, roles) if is_plain else None
        if num_rows is None or type(self).load is not TableFiles.load:  # a subclass may load otherwise
            return None
        return InteractionFiles(log, roles, self.config.timestamp_unit, self._tables(paths), num_rows)

    def _tables(self, paths: Mapping[str, Sequence[Path]]) -> Tables:
        """Read some of the tables; interactions are empty if they are not among them."""
        config, roles, errors = self.config, self.config.roles(), ErrorCollector("the data")
        frames: dict[str, Any] = {"interactions": pd.DataFrame()}
        starts: dict[str, list[tuple[int, str]]] = {}
        for table, files in paths.items():
            keys = {ENTITIES[table]: roles[ENTITIES[table]]} if table in ENTITIES else roles
            with errors.collect():  # unreadable files are reported together
                is_list = isinstance(config.settings()[table], list)
                replaced = keys[ENTITIES[table]] if table in ENTITIES and is_list else None
                frames[table], starts[table] = self._read(files, keys, config.features(table), replaced)
        errors.raise_if_any()
        return Tables(
            **frames,
            source_paths=self.source_paths(),
            item_label=config.item_label,
            file_columns=roles,
            timestamp_unit=config.timestamp_unit,
            has_times=config.has_times(),
            ordered=config.ordered,
            context=config.features("interactions"),
            from_csv=[table for table, files in paths.items() if not is_parquet(files[0])],
            file_starts=starts,
        )

    def files(self) -> list[Path]:
        """Return the files of all tables."""
        return [path for paths in self.config.table_paths().values() for path in paths]

    def source_paths(self) -> Mapping[str, str]:
        """Return table -> its files as messages name them."""
        return {table: _display_path(setting) for table, setting in self.config.settings().items()}

    def fingerprint(self) -> str:
        """Return a SHA-256 of the settings and the content of the files, without their paths."""
        settings = {key: value for key, value in self.config.spec().items() if key not in NOT_IN_FINGERPRINT}
        content = {
            table: [[path.name, file_sha256(path)] for path in paths]
            for table, paths in self.config.table_paths().items()
        }
        return fingerprint_values([settings, content])

    def _read(
        self, paths: Sequence[Path], keys: Mapping[str, str], features: list[str], replaced: str | None
    ) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
        """Read keys (name in `Tables` -> column in the file) and features; CSV columns get types."""
        config, columns = self.config, [*keys.values(), *features]
        ids, shown = (config.user_column, config.item_column), _display_path(list(map(str, paths)))
        frame, starts = read_table(paths, columns, config.separator, ids, replaced)
        frame.columns = pd.Index([*keys, *features], dtype=object)
        for name in features:
            if name in (config.tag_columns or []):
                frame[name] = pd.Series(map(self._split_tags, frame[name]), index=frame.index, dtype=object)
            elif name in (config.text_columns or []):
                if pd.api.types.is_numeric_dtype(frame[name]):
                    raise InputError(
                        f"data.text_columns: {shown}: column {name!r} holds numbers; save it as text"
                    )
            elif not is_parquet(paths[0]) and name != config.item_label:
                texts, frame[name] = frame[name], typed(frame[name])
                if pd.api.types.is_float_dtype(frame[name].dtype) and (codes := texts_of_one_number(texts)):
                    LOG.info(
                        "%s: %r and %r of column %r are one number; if they are codes, add it to "
                        "data.text_columns",
                        *(shown, *codes, name),
                    )
        return frame, starts

    def _split_tags(self, value: Any) -> Any:
        """Return the tags of a text; lists and missing values stay as they are."""
        if not isinstance(value, str):
            return value
        return [tag.strip() for tag in value.split(self.config.tag_separator) if tag.strip()]


def _display_path(setting: str | list[str]) -> str:
    """Return the files of a setting as messages name them."""
    if isinstance(setting, str):
        return str(Path(setting))
    return str(Path(setting[0])) if len(setting) == 1 else f"{setting[0]} and {len(setting) - 1} more"
