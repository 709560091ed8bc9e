"""The three tables that every source returns."""

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from twotower.config.problems import legible, listed
from twotower.data.actions import Actions
from twotower.data.source_column import SourceColumn
from twotower.data.times import TimestampUnit

USER_ID, ITEM_ID, TIMESTAMP, SPLIT = "user_id", "item_id", "timestamp", "split"
LABEL, WEIGHT, EVENT = "label", "weight", "event"
ROLES = (USER_ID, ITEM_ID, TIMESTAMP, SPLIT, LABEL, WEIGHT, EVENT)  # columns of interactions with a meaning
SPLIT_NAMES = ("train", "valid", "test")
ENTITIES = {"users": USER_ID, "items": ITEM_ID}  # table -> its key
Needs = Callable[[str, pd.DataFrame, str], Iterable[str]]
"""(table name, table, source path) -> messages about missing columns and wrong values that features need.

The table is without its key if the key is wrong.
"""


@dataclass(frozen=True)
class Tables:
    """The content of a source, with its own ids; only `interactions` are required.

    Rows keep the order of the source: among equal timestamps of a user the earlier row counts as earlier.
    A named index of a frame says where its rows come from ("line" 7) and is quoted in messages.

    Args:
        interactions: `user_id`, `item_id`, `timestamp`, optionally `split`, `label`, `weight`, `event` and
            the columns of `context`.
        users: `user_id`, unique, and features. Without any column: the users of the interactions.
        items: the catalogue: `item_id`, unique, and features; without any column as for users.
        source_paths: "interactions", "users", "items" -> file name, for messages.
        item_label: the column of `items` with the display name of an item.
        file_columns: `user_id` and so on -> name of the column in the files, if it differs.
        from_csv: tables from CSV, whose ids are text because CSV has no types.
        has_times: whether there is a `timestamp`; otherwise rows are in the order of time.
        ordered: whether rows without times are in that order.
        context: columns of `interactions` that describe the request.
        actions: of checked interactions.
        file_starts: table -> see `SourceColumn`.
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
    file_starts: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)

    def source_path(self, table: str) -> str:
        """Return the file of "interactions", "users" or "items"."""
        return self.source_paths.get(table, self.source_paths.get("interactions", "interactions"))

    def column(self, table: str, key: str) -> SourceColumn:
        """Return a column of "interactions", "users" or "items"."""
        values, name = getattr(self, table)[key], self.file_columns.get(key, key)
        return SourceColumn(values, self.source_path(table), name, self.file_starts.get(table, ()))

    def action_columns(self) -> Iterator[SourceColumn | None]:
        """Yield the labels, weights and events of the interactions, None if there are none."""
        for name in (LABEL, WEIGHT, EVENT):
            yield self.column("interactions", name) if name in self.interactions else None


def missing_columns(columns: Iterable[str], needed: Iterable[str]) -> str | None:
    """Return a message about missing columns with the nearest names, None if all are present."""
    present = [str(column) for column in columns]
    missing = [name for name in dict.fromkeys(needed) if name not in present]
    if not missing:
        return None
    matches = [difflib.get_close_matches(name, present, n=1, cutoff=0.5) for name in missing]
    close = " or ".join(dict.fromkeys(repr(legible(names[0])) for names in matches if names))
    hint = f"did you mean {close}? " if close else ""
    subject = f"column {missing[0]!r} is" if len(missing) == 1 else f"columns {listed(missing)} are"
    return f"{subject} missing; {hint}there is {listed(present) or 'nothing'}"
