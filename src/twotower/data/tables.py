"""The three tables every source returns."""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from twotower.config.problems import legible, listed
from twotower.data.actions import Actions
from twotower.data.source_column import SourceColumn
from twotower.data.times import TimestampUnit

USER_ID, ITEM_ID, TIMESTAMP, SPLIT = "user_id", "item_id", "timestamp", "split"
LABEL, WEIGHT, EVENT = "label", "weight", "event"
SPLIT_NAMES = ("train", "valid", "test")


@dataclass(frozen=True)
class Tables:
    """What a source holds, in its own ids; `interactions` are enough.

    Rows keep the order of the source: among equal timestamps of a user the earlier row counts as earlier.
    A named index of a frame says where its rows come from ("line" 7) and is quoted in messages.

    Args:
        interactions: `user_id`, `item_id`, `timestamp`, perhaps `split`, `label`, `weight`, `event` and the
            columns that `context` names.
        users: `user_id`, unique, and feature columns; holds every user of the interactions. Without any
            column: the users of the interactions, without features.
        items: `item_id`, unique, and feature columns; ditto. The catalogue.
        source_paths: "interactions", "users", "items" -> file name, for messages.
        item_label: the column of `items` that names an item for people.
        file_columns: `user_id` and so on -> the column's name in the files, where it differs.
        from_csv: tables whose ids are text only because CSV has no types.
        has_times: whether there is a `timestamp`; without, the order of rows stands for it.
        ordered: whether that order means anything; without times only.
        context: columns of `interactions` that describe the request.
        actions: what the interactions were, once they are checked.
        pieces: (number of rows before it, name) of each file of the interactions, where there are several.
        counted: what a row of the interactions is, for messages.
    """

    interactions: pd.DataFrame
    users: pd.DataFrame = field(default_factory=pd.DataFrame)
    items: pd.DataFrame = field(default_factory=pd.DataFrame)
    source_paths: Mapping[str, str] = field(default_factory=dict)
    item_label: str | None = None
    file_columns: Mapping[str, str] = field(default_factory=dict)
    timestamp_unit: TimestampUnit = "s"
    from_csv: Collection[str] = ()
    has_times: bool = True
    ordered: bool = True
    context: Sequence[str] = ()
    actions: Actions = field(default_factory=Actions)
    pieces: Sequence[tuple[int, str]] = ()
    counted: str = "rows in all"

    def source_path(self, table: str) -> str:
        """Return where "interactions", "users" or "items" come from."""
        return self.source_paths.get(table, self.source_paths.get("interactions", "interactions"))

    def column(self, table: str, key: str) -> SourceColumn:
        """Return a column of "interactions", "users" or "items" as messages name it."""
        values, name = getattr(self, table)[key], self.file_columns.get(key, key)
        if table != "interactions":
            return SourceColumn(values, self.source_path(table), name)
        return SourceColumn(values, self.source_path(table), name, self.pieces, self.counted)


def missing_columns(columns: Iterable[str], needed: Iterable[str]) -> str | None:
    """Return what to say about needed columns that are not there, or None if they all are."""
    present = [str(column) for column in columns]
    missing = [name for name in dict.fromkeys(needed) if name not in present]
    if not missing:
        return None
    found = [difflib.get_close_matches(name, present, n=1, cutoff=0.5) for name in missing]
    close = " or ".join(dict.fromkeys(repr(legible(names[0])) for names in found if names))
    hint = f"did you mean {close}? " if close else ""
    said = f"column {missing[0]!r} is" if len(missing) == 1 else f"columns {listed(missing)} are"
    return f"{said} missing; {hint}there is {listed(present) or 'nothing'}"


ENTITIES = {"users": USER_ID, "items": ITEM_ID}  # table -> its key
Needs = Callable[[str, pd.DataFrame, str], Iterable[str]]
"""(table name, table, source path) -> messages about required columns; without the key if it is wrong."""


def no_needs(table: str, frame: pd.DataFrame, source_path: str) -> Iterable[str]:
    """Find nothing wrong: nobody needs any column."""
    return ()
