"""The three tables every source returns."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from twotower.config.problems import legible, listed
from twotower.data.column import Column
from twotower.data.times import TimestampUnit

USER_ID, ITEM_ID, TIMESTAMP, SPLIT = "user_id", "item_id", "timestamp", "split"
SPLIT_NAMES = ("train", "valid", "test")


@dataclass(frozen=True)
class Tables:
    """What a source holds, in its own ids; `interactions` are enough.

    Rows keep the order of the source: among equal timestamps of a user the earlier row counts as earlier.
    A named index of a frame says where its rows come from ("line" 7) and is quoted in messages.

    Args:
        interactions: `user_id`, `item_id`, `timestamp`, perhaps `split`.
        users: `user_id`, unique, and feature columns; holds every user of the interactions. Without any
            column: the users of the interactions, without features.
        items: `item_id`, unique, and feature columns; ditto. The catalogue.
        origins: "interactions", "users", "items" -> file name, for messages.
        item_label: the column of `items` that names an item for people.
        file_columns: `user_id` and so on -> the column's name in the files, where it differs.
        from_csv: tables whose ids are text only because CSV has no types.
    """

    interactions: pd.DataFrame
    users: pd.DataFrame = field(default_factory=pd.DataFrame)
    items: pd.DataFrame = field(default_factory=pd.DataFrame)
    origins: Mapping[str, str] = field(default_factory=dict)
    item_label: str | None = None
    file_columns: Mapping[str, str] = field(default_factory=dict)
    timestamp_unit: TimestampUnit = "s"
    from_csv: Collection[str] = ()

    def origin(self, table: str) -> str:
        """Return where "interactions", "users" or "items" come from."""
        return self.origins.get(table, self.origins.get("interactions", "interactions"))

    def column(self, table: str, key: str) -> Column:
        """Return a column of "interactions", "users" or "items" as messages name it."""
        return Column(getattr(self, table)[key], self.origin(table), self.file_columns.get(key, key))


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
