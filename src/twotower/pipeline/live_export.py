"""What a service was told by day, in the log and the tables that are trained on by night."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.data.grown_files import append_rows, time_value
from twotower.data.source_column import SourceColumn
from twotower.data.sources.source import Source
from twotower.data.sources.table_files import TableFiles
from twotower.data.table_reader import header, is_parquet, read
from twotower.data.tables import EVENT, ITEM_ID, LABEL, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.times import checked_times
from twotower.files.atomic import publish_folder, temporary_folder, write_text_atomically
from twotower.files.part_files import check_new
from twotower.pipeline.live_tables import Grown, grow_table
from twotower.serving.live.changes import EventAdded
from twotower.serving.live.stored_changes import read_stored_changes

COUNTS = "exported.json"
TABLES = ("interactions", "users", "items")
Files = TableFiles.Config


@dataclass(frozen=True)
class Exported:
    """What an export did, counted."""

    rows_before: int
    events: int
    events_there: int
    """Of these, in the log already: exported on an earlier night, or logged by somebody else too."""
    events_added: int
    rows: int
    items: Grown
    users: Grown
    removed_items: int
    """They stay in the tables; the store keeps them from being offered."""


def export_live(
    settings: Mapping[str, Any], store: Path, out: Path, paths: Mapping[str, str], fill: Mapping[str, Any]
) -> Exported:
    """Copy a run's log and tables into a new folder, with the live changes of a store in them.

    An event that the log has, the same user, item and second, is not added again, so it does not matter which
    night took it first, nor whether a night was left out. What the store keeps stays there: the next bundle
    is given it once more, and knows which of it it has.

    Args:
        settings: of the run, whose `data` says how the files are laid out.
        store: of a service, which may be running.
        out: the new folder, which gets interactions, users and items as far as the run has them.
        paths: other files than the run's, by "interactions", "users" and "items".
        fill: column of the log -> what it holds for events that are added.

    Raises:
        InputError: there is no such store or file, `out` is there, or a value does not fit its file.
    """
    check_new(out)
    config = _files_of(settings, paths)
    kept = read_stored_changes(store)
    log = config.paths()["interactions"]
    filled = _filled(config, header(log, config.separator), fill)
    _check_words(kept.events, config, filled)
    new, num_rows = _not_there(kept.events, log, config)
    with temporary_folder(out) as folder:
        target = folder / file_name("interactions", log)
        append_rows(log, target, _rows(new, log, config, filled), config.separator)
        found = num_rows_in(target, config)
        if found != num_rows + len(new):
            raise RuntimeError(f"{target}: {num_rows:,} rows and {len(new):,} events became {found:,} rows")
        puts = {
            "items": [(each.item_id, each.features) for each in kept.puts],
            "users": [(each.user_id, each.features) for each in kept.profiles],
        }
        tables = {
            name: grow_table(name, puts[name], config, folder / file_name(name, config.paths()[name]))
            if name in config.paths()
            else Grown()
            for name in puts
        }
        there = len(kept.events) - len(new)
        counts = Exported(
            num_rows, len(kept.events), there, len(new), found, **tables, removed_items=len(kept.removals)
        )
        write_text_atomically(folder / COUNTS, json.dumps(asdict(counts), indent=2) + "\n")
        publish_folder(folder, out)
    return counts


def told(counts: Exported, out: Path) -> str:
    """Return lines for people about an export."""
    tables = "".join(
        f"; {name}: {each.added:,} new, {each.changed:,} changed, {each.unchanged:,} as they were"
        for name, each in (("items", counts.items), ("users", counts.users))
        if each != Grown()
    )
    removed = f"; of removed items {counts.removed_items:,} stay in the table" if counts.removed_items else ""
    return (
        f"ok  {counts.events_added:,} of {counts.events:,} live events are new ({counts.events_there:,} were "
        f"there), {counts.rows_before:,} rows became {counts.rows:,}{tables}{removed}  {out}"
    )


def table_paths(out: Path) -> dict[str, str]:
    """Return the settings of `data` that name the files of an export."""
    names = {path.name.partition(".")[0]: path for path in sorted(out.iterdir())}
    return {f"{table}_path": str(names[table]) for table in TABLES if table in names}


def file_name(table: str, source: Path) -> str:
    """Return the name of a table's copy, of the kind that its source is."""
    return table + "".join(suffix for suffix in source.suffixes[-2:] if suffix.lower() in ENDINGS)


ENDINGS = (".csv", ".tsv", ".txt", ".gz", ".parquet", ".pq")


def _files_of(settings: Mapping[str, Any], paths: Mapping[str, str]) -> Files:
    data = settings.get("data")
    config = Source.Config.chosen(data, "data")
    if not isinstance(config, Files):
        raise InputError(
            f"run: it was trained on {type(config).owner.__name__}, which has no log that events could be "
            "added to; train with data=table_files and files of your own"
        )
    spec = config.spec() | {f"{table}_path": path for table, path in paths.items()}
    chosen = Source.Config.chosen(spec, "data")
    assert isinstance(chosen, Files)
    for table in chosen.settings().keys() - chosen.paths().keys():
        raise InputError(f"{table}: those of the run are not one file here; name one, which is copied")
    if chosen.timestamp_column is None:
        raise InputError(
            "run: its log has no times (data.timestamp_column=null), so which events are in it already "
            "cannot be known; keep a log with times"
        )
    return chosen


def _filled(config: Files, names: Sequence[str], fill: Mapping[str, Any]) -> dict[str, Any]:
    """Return column -> value of what an event leaves open: a positive interaction of weight 1."""
    roles = config.roles()
    if unknown := sorted(set(fill) - set(names)):
        raise InputError(f"fill.{unknown[0]}: the log has no such column; there is {', '.join(names)}")
    if own := sorted(set(fill) & {roles[role] for role in (USER_ID, ITEM_ID, TIMESTAMP)}):
        raise InputError(f"fill.{own[0]}: every event has its own; leave it out")
    threshold = config.label_threshold
    found: dict[str, Any] = {
        LABEL: 1 if threshold is None else int(threshold) if threshold == int(threshold) else threshold,
        WEIGHT: 1,
    }
    positive = [word for word, event in config.events.items() if event.role == "positive"]
    if len(positive) == 1:
        found[EVENT] = positive[0]
    values = {roles[role]: value for role, value in found.items() if role in roles} | dict(fill)
    if SPLIT in roles:
        _check_filled(roles[SPLIT], "train", values)
    return values


def _check_filled(column: str, example: str, filled: Mapping[str, Any]) -> None:
    if column not in filled:
        raise InputError(
            f"fill.{column}: the log has this column, and a live event has no value for it; say "
            f"which, as in fill.{column}={example}"
        )


def _check_words(events: Sequence[EventAdded], config: Files, filled: Mapping[str, Any]) -> None:
    """Refuse events without a word for a log of words, unless one is filled in, and the other way round."""
    if config.event_column is not None and any(each.event is None for each in events):
        _check_filled(config.event_column, "click", filled)
    named = next((each.event for each in events if each.event is not None), None)
    if config.event_column is None and named is not None:
        raise InputError(
            f"run: the store has events of a kind ({named!r:.80}), and the run's log has no column for it; "
            "use a run with data.event_column"
        )


def _not_there(events: Sequence[EventAdded], log: Path, config: Files) -> tuple[list[EventAdded], int]:
    """Return the events that the log does not have, in order, and how many rows it has."""
    named = config.event_column is not None
    keys = [config.roles()[role] for role in (USER_ID, ITEM_ID, TIMESTAMP, *([EVENT] if named else []))]
    frame = read(log, keys, config.separator, config.chunk_rows, keys[:2])
    wanted = {str(event.user_id) for event in events}
    ids = frame[keys[:2]].astype("str")
    times = checked_times(SourceColumn(frame[keys[2]], str(log), keys[2]), config.timestamp_unit)
    some = ids[keys[0]].isin(wanted).to_numpy(dtype=np.bool_)
    words = frame[keys[3]].astype("str")[some] if named else [None] * int(some.sum())
    there = set(zip(*(ids[key][some] for key in keys[:2]), times[some].tolist(), words, strict=True))
    of_any = {key[:3] for key in there}  # an event without a word is there whatever the word of that
    new = [
        each
        for each in events
        for key in [(str(each.user_id), str(each.item_id), each.time)]
        if (key not in of_any if each.event is None else (*key, each.event) not in there)
    ]
    return new, len(frame)


def _rows(
    events: Sequence[EventAdded], log: Path, config: Files, filled: Mapping[str, Any]
) -> list[dict[str, Any]]:
    user, item, time = (config.roles()[role] for role in (USER_ID, ITEM_ID, TIMESTAMP))
    schema = pq.read_schema(log) if is_parquet(log) else None
    kind = None if schema is None else schema.field(time).type
    column = config.event_column

    def word(text: str) -> Any:
        """Return an event's word as its column holds it: codes may be numbers."""
        return (
            text
            if schema is None or column is None
            else pa.scalar(text).cast(schema.field(column).type).as_py()
        )

    if column is not None and column in filled:
        filled = {**filled, column: word(str(filled[column]))}
    try:
        return [
            {
                **filled,
                user: each.user_id,
                item: each.item_id,
                time: time_value(each.time, config.timestamp_unit, kind),
                **({} if each.event is None or column is None else {column: word(each.event)}),
            }
            for each in events
        ]
    except InputError as error:
        raise InputError(f"{log}: column {time!r}: {error}") from error


def num_rows_in(path: Path, config: Files) -> int:
    """Return how many interactions a file has, as training reads it."""
    if is_parquet(path):
        num_rows: int = pq.read_metadata(path).num_rows
        return num_rows
    user = config.user_column
    return len(read(path, [user], config.separator, config.chunk_rows, [user]))
