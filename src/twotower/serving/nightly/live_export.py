"""Export of live changes: copies of a run's log and tables with the live events, items and users."""

import json
from collections.abc import Mapping, Sequence, Set
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
from twotower.data.table_copies import copy_table, time_value
from twotower.data.table_reader import is_parquet, read_file
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


@dataclass(frozen=True)
class TableChanges:
    """Numbers of rows that live items or users added to a table, or replaced."""

    added: int = 0
    replaced: int = 0


@dataclass(frozen=True)
class ExportCounts:
    """Counts of an export, as in `exported.json`.

    `rows_before` and `rows` are rows of the log. Rows of removed items stay in the table; the store keeps
    these items out of recommendations.
    """

    rows_before: int
    events: int
    events_in_log: int
    events_added: int
    rows: int
    items: TableChanges
    users: TableChanges
    removed_items: int

    def message(self, out: Path) -> str:
        """Return the counts as one line."""
        tables = "".join(
            f"; {name}: {each.added:,} new, {each.replaced:,} replaced"
            for name, each in (("items", self.items), ("users", self.users))
            if each != TableChanges()
        )
        removed = f"; {self.removed_items:,} removed items stay in the table" if self.removed_items else ""
        return (
            f"ok  {self.events_added:,} of {self.events:,} live events added ({self.events_in_log:,} were in "
            f"the log), {self.rows_before:,} -> {self.rows:,} rows{tables}{removed}  {out}"
        )


def export_live(
    settings: Mapping[str, Any], store: Path, out: Path, paths: Mapping[str, str]
) -> ExportCounts:
    """Copy the log and the tables of a run into a new folder, with the live changes of a store.

    Events with the user, item and second of an existing row are skipped, so exports may overlap. The store,
    that of a service which may be running, is unchanged. `paths` has files that replace those of the run, by
    "interactions", "users" and "items".

    Raises:
        InputError: a store or file is missing, `out` exists, or a value does not fit its column.
    """
    check_new(out)
    config = _read_log_config(settings, paths)
    changes = read_changes(store)
    events = [each for each in changes if isinstance(each, EventAdded)]
    log = config.paths()["interactions"]
    defaults = _default_values(events, config)
    new, num_rows = _missing_events(events, log, config)
    puts: dict[str, dict[str, ItemPut | UserPut]] = {
        "items": {str(each.item_id): each for each in changes if isinstance(each, ItemPut)},
        "users": {str(each.user_id): each for each in changes if isinstance(each, UserPut)},
    }
    with new_folder(out) as folder:
        copy_table(
            log, folder / _file_name("interactions", log), _rows(new, log, config, defaults), config.separator
        )
        features = FeaturesConfig.from_spec(settings["features"], "features")
        read = {
            name: {each.column for each in choices.values()}
            for name, choices in (("items", features.item), ("users", features.user))
        }
        tables = {name: _update_table(name, puts[name], config, folder, read[name]) for name in puts}
        counts = ExportCounts(
            rows_before=num_rows,
            events=len(events),
            events_in_log=len(events) - len(new),
            events_added=len(new),
            rows=num_rows + len(new),
            **tables,
            removed_items=sum(isinstance(each, ItemRemoved) for each in changes),
        )
        write_text_atomically(folder / EXPORTED, json.dumps(asdict(counts), indent=2) + "\n")
    return counts


def lacks_events(settings: Mapping[str, Any], store: Path) -> bool:
    """Return whether an export would add an event of a store to the log of a run."""
    config = _read_log_config(settings, {})
    events = [each for each in read_changes(store) if isinstance(each, EventAdded)]
    return bool(_missing_events(events, config.paths()["interactions"], config)[0])


def table_paths(out: Path) -> dict[str, str]:
    """Return `interactions_path`, `users_path` and `items_path` of an export."""
    names = {path.name.partition(".")[0]: path for path in sorted(out.iterdir())}
    return {f"{table}_path": str(names[table]) for table in TABLES if table in names}


def _file_name(table: str, source: Path) -> str:
    """Return the name of a table's copy, with the suffixes of its source."""
    known = (".csv", ".tsv", ".txt", ".gz", ".parquet", ".pq")
    return table + "".join(suffix for suffix in source.suffixes[-2:] if suffix.lower() in known)


def _read_log_config(settings: Mapping[str, Any], paths: Mapping[str, str]) -> Files:
    config = Source.Config.from_spec(settings.get("data"), "data")
    if not isinstance(config, Files):
        raise InputError(
            f"run: it was trained on {type(config).owner.__name__}, whose log is fixed; use a run of "
            "data=table_files"
        )
    spec = config.spec() | {f"{table}_path": path for table, path in paths.items()}
    chosen = Source.Config.from_spec(spec, "data")
    assert isinstance(chosen, Files)
    for table in chosen.settings().keys() - chosen.paths().keys():
        raise InputError(
            f"{table}: the run has several files or a remote address; name one local file to copy"
        )
    if chosen.timestamp_column is None:
        raise InputError(
            "run: its log has no times (data.timestamp_column=null), so duplicate events cannot be "
            "recognized; use a run on a log with times"
        )
    return chosen


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
    named = [each.event for each in events if each.event is not None]
    if config.event_column is None and named:
        raise InputError(
            f"run: the store has events of type {named[0]!r:.80}, but the log of the run has no column of "
            "event types; use a run with data.event_column"
        )
    if config.event_column is not None and positive:
        defaults[EVENT] = positive[0]
    elif config.event_column is not None and len(named) < len(events):
        raise InputError(
            "run: the store has events without a type; name a type of the role positive in data.events, "
            "which they get"
        )
    return {roles[role]: value for role, value in defaults.items() if role in roles}


def _missing_events(events: Sequence[EventAdded], log: Path, config: Files) -> tuple[list[EventAdded], int]:
    """Return the events that the log lacks, in order, and its number of rows."""
    named = config.event_column is not None
    keys = [config.roles()[role] for role in (USER_ID, ITEM_ID, TIMESTAMP, *([EVENT] if named else []))]
    frame = read_file(log, keys, config.separator, keys[:2])
    ids = frame[keys[:2]].astype("str")
    times = checked_times(SourceColumn(frame[keys[2]], str(log), keys[2]), config.timestamp_unit)
    has_user = ids[keys[0]].isin({str(event.user_id) for event in events}).to_numpy(dtype=np.bool_)
    types = frame[keys[3]].astype("str")[has_user] if named else [None] * int(has_user.sum())
    logged = set(zip(*(ids[key][has_user] for key in keys[:2]), times[has_user].tolist(), types, strict=True))
    of_any_type = {key[:3] for key in logged}  # an event without a type matches a row of any type
    new = [
        each
        for each in events
        for key in [(str(each.user_id), str(each.item_id), each.time)]
        if (key not in of_any_type if each.event is None else (*key, each.event) not in logged)
    ]
    return new, len(frame)


def _rows(
    events: Sequence[EventAdded], log: Path, config: Files, defaults: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return live events as rows of the log, in the types of its columns."""
    user, item, time = (config.roles()[role] for role in (USER_ID, ITEM_ID, TIMESTAMP))
    kinds = _column_types(log)
    rows = []
    for each in events:
        row = {**defaults, user: each.user_id, item: each.item_id}
        try:
            row[time] = time_value(each.time, config.timestamp_unit, kinds.get(time))
        except InputError as error:
            raise InputError(f"{log}: column {time!r}: {error}") from error
        if (column := config.event_column) is not None:
            text = str(defaults[column] if each.event is None else each.event)
            # A column of event types may hold numeric codes.
            row[column] = pa.scalar(text).cast(kinds[column]).as_py() if column in kinds else text
        rows.append(row)
    return rows


def _column_types(path: Path) -> dict[str, pa.DataType]:
    """Return the types of the values of the columns in Parquet; a CSV has none."""
    if not is_parquet(path):
        return {}
    kinds = {each.name: each.type for each in pq.read_schema(path)}
    return {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in kinds.items()}


def _update_table(
    table: str, puts: Mapping[str, ItemPut | UserPut], config: Files, folder: Path, read: Set[str]
) -> TableChanges:
    """Copy a run's table of "users" or "items", if it has one, and replace or append the rows of live puts.

    A put replaces the user or item of the towers: of columns that it lacks, those in `read`, which features
    read, become empty, and others keep their values.
    """
    if (path := config.paths().get(table)) is None:
        return TableChanges()
    target = folder / _file_name(table, path)
    key = config.item_column if table == "items" else config.user_column
    columns, kinds = config.features(table), _column_types(path)
    rows: dict[str, dict[str, Any]] = {}
    for id_, put in puts.items():
        if unknown := sorted(set(put.features) - set(columns)):
            raise InputError(
                f"{path}: no column {unknown[0]!r}, but the live {table[:-1]} {id_!r:.80} has it; put it "
                f"again without ({nearest(unknown[0], columns)})"
            )
        rows[id_] = {
            name: _cell(put.features.get(name), name, kinds, config, path)
            for name in columns
            if name in put.features or name in read
        }
    known = rows.keys() & set(read_file(path, [key], config.separator, [key])[key].astype("str"))
    new = [
        {key: put.item_id if isinstance(put, ItemPut) else put.user_id, **rows[id_]}
        for id_, put in puts.items()
        if id_ not in known
    ]
    copy_table(path, target, new, config.separator, {id_: rows[id_] for id_ in known}, key)
    return TableChanges(len(new), len(known))


def _cell(value: Any, name: str, kinds: Mapping[str, pa.DataType], config: Files, path: Path) -> Any:
    """Return a value in the type of its column. If the column has no lists, a list becomes a text."""
    kind = kinds.get(name)
    if isinstance(value, str) and kind is not None and pa.types.is_temporal(kind):
        return _moment(value, kind)
    holds_lists = kind is not None and pa.types.is_nested(kind)
    if isinstance(value, list) and not holds_lists:
        if name in (config.tag_columns or ()):
            return config.tag_separator.join(map(str, value))
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and holds_lists:
        return [part.strip() for part in value.split(config.tag_separator) if part.strip()]
    if kind is None or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return pa.scalar(value).cast(kind).as_py()
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: column {name!r} has type {kind}, but the live value is {value!r} ({error!s:.90})"
        ) from error


def _moment(text: str, kind: pa.DataType) -> Any:
    """Return an ISO 8601 text in the type of a column of times or dates; a text of another form as it is."""
    (moment,) = parsed_dates(pd.Series([text]))
    if pd.isna(moment) or not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return text
    if pa.types.is_date(kind):
        return moment.date()
    return moment if kind.tz else moment.tz_localize(None)
