"""Export of live changes: files of events, items and users that are read after a run's log and tables."""

import datetime
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.data.source_column import SourceColumn
from twotower.data.sources.source import Source
from twotower.data.sources.table_files import TableFiles
from twotower.data.table_reader import header, is_parquet, read_file, read_table, saved_ranges, table_paths
from twotower.data.tables import EVENT, ITEM_ID, LABEL, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.times import checked_times, parsed_dates
from twotower.files.atomic import write_text_atomically
from twotower.files.part_files import check_new, new_folder
from twotower.serving.live.change_store import read_changes
from twotower.serving.live.changes import EventAdded, ItemPut, ItemRemoved, UserPut
from twotower.training.training_config import FeaturesConfig

EXPORTED = "exported.json"
TABLES = ("interactions", "users", "items")
Files = TableFiles.Config
Row = Mapping[str, Any]
"""Column -> plain value; a missing column or None is an empty field."""


@dataclass(frozen=True)
class Export:
    """Counts of an export, and the path settings of the data with it, as in `exported.json`.

    `rows_before` and `rows` are rows of the log. `items` and `users` have the numbers of rows that live
    changes `added` to a table, and `replaced`. Rows of removed items stay in the table; the store keeps these
    items out of recommendations.
    """

    rows_before: int
    events: int
    events_in_log: int
    events_added: int
    rows: int
    items: Mapping[str, int]
    users: Mapping[str, int]
    removed_items: int
    data: Mapping[str, list[str]]

    def message(self, out: Path) -> str:
        """Return the counts as one line."""
        tables = "".join(
            f"; {name}: {counts['added']:,} new, {counts['replaced']:,} replaced"
            for name, counts in (("items", self.items), ("users", self.users))
            if any(counts.values())
        )
        removed = f"; {self.removed_items:,} removed items stay in the table" if self.removed_items else ""
        return (
            f"ok  {self.events_added:,} of {self.events:,} live events added ({self.events_in_log:,} were in "
            f"the log), {self.rows_before:,} -> {self.rows:,} rows{tables}{removed}  {out}"
        )


def export_live(settings: Mapping[str, Any], store: Path, out: Path, paths: Mapping[str, str]) -> Export:
    """Write the live changes of a store into a new folder, as files that follow the files of a run.

    The run's own files are only read. Rows of earlier exports that the run has read are in the new files too,
    which replace them. Events with the user, item and second of an existing row are skipped, so exports may
    overlap. The store is unchanged, and its service may be running. `paths` has files that replace the files
    of the run, by "interactions", "users" and "items".

    Raises:
        InputError: a store or file is missing, `out` exists, or a value does not fit its column.
    """
    check_new(out)
    config = _log_config(settings, paths)
    changes = read_changes(store)
    events = [each for each in changes if isinstance(each, EventAdded)]
    defaults = _default_values(events, config)
    new, num_rows = _missing_events(events, config)
    features = FeaturesConfig.from_spec(settings["features"], "features")
    log = _Table("interactions", config)
    earlier = [row for path in log.exported for row in log.rows(path)]
    rows = {log: [*earlier, *_event_rows(new, log, defaults)]}
    puts: dict[str, dict[int | str, Row]] = {
        "items": {each.item_id: each.features for each in changes if isinstance(each, ItemPut)},
        "users": {each.user_id: each.features for each in changes if isinstance(each, UserPut)},
    }
    counts = {name: {"added": 0, "replaced": 0} for name in puts}
    for name, choices in (("items", features.item), ("users", features.user)):
        if name in config.settings():
            table, read = _Table(name, config), {each.column for each in choices.values()}
            rows[table], counts[name] = _changed_rows(table, puts[name], read)
    with new_folder(out) as folder:
        export = Export(
            rows_before=num_rows,
            events=len(events),
            events_in_log=len(events) - len(new),
            events_added=len(new),
            rows=num_rows + len(new),
            **counts,
            removed_items=sum(isinstance(each, ItemRemoved) for each in changes),
            data={f"{each.name}_path": each.write(added, folder, out) for each, added in rows.items()},
        )
        write_text_atomically(folder / EXPORTED, json.dumps(asdict(export), indent=2) + "\n")
    return export


def is_exported(settings: Mapping[str, Any], store: Path) -> bool:
    """Return whether a run has read an export, and its log and the store have had no more events since."""
    config = _log_config(settings, {})
    if not (exported := _Table("interactions", config).exported):
        return False
    events = [each for each in read_changes(store) if isinstance(each, EventAdded)]
    new, num_rows = _missing_events(events, config)
    rows: int = json.loads((exported[-1].parent / EXPORTED).read_text(encoding="utf-8"))["rows"]
    return not new and rows == num_rows


class _Table:
    """The files of a run's log, users or items: the user's own, then the files of an earlier export."""

    def __init__(self, name: str, config: Files) -> None:
        self.name, self.config = name, config
        setting = config.settings()[name]
        given = [setting] if isinstance(setting, str) else setting
        exported = [each for each in given[1:] if (Path(each).parent / EXPORTED).is_file()]
        self._own, self.exported = [each for each in given if each not in exported], list(map(Path, exported))
        self.own = table_paths(self._own)
        self.key = config.user_column if name == "users" else config.item_column
        self._schema: pa.Schema | None = None
        if is_parquet(self.own[0]):
            with pq.ParquetFile(self.own[0]) as file:
                ranges = [pa.field(name, pa.int64()) for name in saved_ranges(file)]
                self._schema = pa.schema([*file.schema_arrow, *ranges])
        kinds = {each.name: each.type for each in self._schema or ()}
        self.kinds = {
            name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in kinds.items()
        }

    def rows(self, path: Path, ids: Collection[str] | None = None) -> list[Row]:
        """Return the rows of a file, optionally of some ids only, as plain values; None = missing value."""
        names = Counter(header(path, self.config.separator))
        columns = [name for name, number in names.items() if name and number == 1]
        frame = read_file(path, columns, self.config.separator, [self.key]).astype(object)
        frame = frame if ids is None else frame[frame[self.key].astype(str).isin(ids)]
        rows: list[Any] = frame.where(frame.notna(), None).to_dict("records")
        return rows

    def cell(self, name: str, value: Any) -> Any:
        """Return a live value in the type of its column. If the column has no lists, a list becomes a text.

        Raises InputError: it does not fit.
        """
        kind = self.kinds.get(name)
        holds_lists = kind is not None and pa.types.is_nested(kind)
        if isinstance(value, list) and not holds_lists:
            if name in (self.config.tag_columns or ()):
                return self.config.tag_separator.join(map(str, value))
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, str) and holds_lists:
            return [part.strip() for part in value.split(self.config.tag_separator) if part.strip()]
        if kind is None or value is None or holds_lists:
            return value
        if isinstance(value, str) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            (moment,) = parsed_dates(pd.Series([value]))
            value = value if pd.isna(moment) else moment
        try:
            return pa.scalar(value).cast(kind).as_py()
        except (pa.ArrowException, TypeError) as error:
            raise InputError(
                f"{self.own[0]}: column {name!r}: a live value does not fit its column's type {kind}: "
                f"{value!r:.80} ({error!s:.90})"
            ) from error

    def write(self, rows: Sequence[Row], folder: Path, out: Path) -> list[str]:
        """Write rows in the format of the user's own files; return the setting that names all files."""
        if not rows:
            return self._own
        name = f"{self.name}.{'csv' if self._schema is None else 'parquet'}"
        if self._schema is None:
            columns = [*dict.fromkeys(filter(None, header(self.own[0], self.config.separator)))]
            frame = pd.DataFrame([dict(row) for row in rows], columns=columns, dtype=object)
            frame.to_csv(folder / name, sep=self.config.separator, index=False)
        else:
            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], self._schema), folder / name)
        return [*self._own, str(out / name)]


def _log_config(settings: Mapping[str, Any], paths: Mapping[str, str]) -> Files:
    config = Source.Config.from_spec(settings.get("data"), "data")
    if not isinstance(config, Files):
        raise InputError(
            f"run: it was trained on {type(config).owner.__name__}, whose log is fixed; use a run of "
            "data=table_files"
        )
    if config.timestamp_column is None:
        raise InputError(
            "run: its log has no times (data.timestamp_column=null), so duplicate events cannot be "
            "recognized; use a run on a log with times"
        )
    return config.model_copy(update={f"{table}_path": path for table, path in paths.items()})


def _default_values(events: Sequence[EventAdded], config: Files) -> dict[str, Any]:
    """Return column of the log -> its value in rows of live events: a positive interaction of weight 1."""
    roles, threshold = config.roles(), config.label_threshold
    if SPLIT in roles:
        raise InputError(
            f"run: its log has a column of splits ({roles[SPLIT]}), which live events lack; use a run with a "
            "split by time, such as split=temporal"
        )
    defaults: dict[str, Any] = {
        LABEL: 1 if threshold is None else int(threshold) if threshold == int(threshold) else threshold,
        WEIGHT: 1,
    }
    positive = [name for name, event in config.events.items() if event.role == "positive"]
    event_names = [each.event for each in events if each.event is not None]
    if config.event_column is None and event_names:
        raise InputError(
            f"run: the store has events of type {event_names[0]!r:.80}, but the log of the run has no column "
            "of event types; use a run with data.event_column"
        )
    if config.event_column is not None and positive:
        defaults[EVENT] = positive[0]
    elif config.event_column is not None and len(event_names) < len(events):
        raise InputError(
            "run: the store has events without a type; name a type of the role positive in data.events, "
            "which they get"
        )
    return {roles[role]: value for role, value in defaults.items() if role in roles}


def _missing_events(events: Sequence[EventAdded], config: Files) -> tuple[list[EventAdded], int]:
    """Return the events that the log lacks, in order, and its number of rows."""
    has_event_column = config.event_column is not None
    keys = [
        config.roles()[role] for role in (USER_ID, ITEM_ID, TIMESTAMP, *([EVENT] if has_event_column else []))
    ]
    paths = config.table_paths()["interactions"]
    frame, starts = read_table(paths, keys, config.separator, keys[:2])
    ids = frame[keys[:2]].astype("str")
    times = checked_times(SourceColumn(frame[keys[2]], str(paths[0]), keys[2], starts), config.timestamp_unit)
    has_user = ids[keys[0]].isin({str(event.user_id) for event in events}).to_numpy(dtype=np.bool_)
    types = frame[keys[3]].astype("str")[has_user] if has_event_column else [None] * int(has_user.sum())
    logged = set(zip(*(ids[key][has_user] for key in keys[:2]), times[has_user].tolist(), types, strict=True))
    of_any_type = {key[:3] for key in logged}  # an event without a type matches a row of any type
    new = [
        each
        for each in events
        for key in [(str(each.user_id), str(each.item_id), each.time)]
        if (key not in of_any_type if each.event is None else (*key, each.event) not in logged)
    ]
    return new, len(frame)


def _event_rows(events: Sequence[EventAdded], log: _Table, defaults: Row) -> list[Row]:
    """Return live events as rows of the log."""
    config = log.config
    user, item, time = (config.roles()[role] for role in (USER_ID, ITEM_ID, TIMESTAMP))
    kind, unit = log.kinds.get(time), config.timestamp_unit
    if kind is not None and pa.types.is_date(kind):
        raise InputError(
            f"{log.own[0]}: column {time!r}: it holds dates without a time of day; save times, so that "
            "events can be added"
        )
    rows: list[Row] = []
    for each in events:
        when: Any = each.time * (1000 if unit == "ms" else 1)
        if unit == "iso":
            when = datetime.datetime.fromtimestamp(each.time, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        row = {**defaults, user: each.user_id, item: each.item_id, time: when}
        if config.event_column is not None and each.event is not None:
            row[config.event_column] = each.event
        rows.append({name: log.cell(name, value) for name, value in row.items()})
    return rows


def _changed_rows(
    table: _Table, puts: Mapping[int | str, Row], read: Collection[str]
) -> tuple[list[Row], dict[str, int]]:
    """Return the rows of "users" or "items" that an export changes, and the counts of live puts.

    A put replaces the user or item of the towers. If it lacks a column of `read`, which features read, the
    column becomes empty; other columns keep their values.
    """
    ids = set(map(str, puts))
    own = [row for path in table.own for row in table.rows(path, ids)]
    earlier = [row for path in table.exported for row in table.rows(path)]
    rows = {str(row[table.key]): row for row in [*own, *earlier]}
    num_known = len(rows.keys() & ids)
    columns = table.config.features(table.name)
    for id_, features in puts.items():
        if unknown := sorted(set(features) - set(columns)):
            raise InputError(
                f"{table.own[0]}: no column {unknown[0]!r}, but the live {table.name[:-1]} {id_!r:.80} has "
                f"it; put it again without ({nearest(unknown[0], columns)})"
            )
        cells = {
            name: table.cell(name, features.get(name)) for name in columns if name in features or name in read
        }
        rows[str(id_)] = {table.key: id_, **rows.get(str(id_), {}), **cells}
    return [*rows.values()], {"added": len(puts) - num_known, "replaced": num_known}
