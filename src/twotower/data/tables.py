"""The three tables every source returns."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

USER_ID, ITEM_ID, TIMESTAMP, SPLIT = "user_id", "item_id", "timestamp", "split"
SPLIT_NAMES = ("train", "valid", "test")


@dataclass(frozen=True)
class Tables:
    """What a source holds, in its own ids.

    Rows keep the order of the source: among equal timestamps of a user the earlier row counts as earlier.
    A named index of a frame says where its rows come from ("line" 7) and is quoted in messages.

    Args:
        interactions: `user_id`, `item_id`, `timestamp` (unix seconds), perhaps `split`.
        users: `user_id`, unique, and feature columns; holds every user of the interactions.
        items: `item_id`, unique, and feature columns; ditto. The catalogue.
        origins: "interactions", "users", "items" -> file name, for messages.
        item_label: the column of `items` that names an item for people.
        file_columns: `user_id` and so on -> the column's name in the files, where it differs.
    """

    interactions: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    origins: dict[str, str]
    item_label: str | None = None
    file_columns: dict[str, str] = field(default_factory=dict)


def entities_of(interactions: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the table of a source that has none: the distinct ids of the interactions, without features."""
    return interactions[[key]].drop_duplicates()


def missing_columns(columns: Iterable[str], needed: Iterable[str]) -> str | None:
    """Return what to say about the first needed column that is not there, or None if they all are."""
    present = [str(column) for column in columns]
    for name in needed:
        if name not in present:
            close = difflib.get_close_matches(name, present, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            return f"column {name!r} is missing; {hint}there is {', '.join(present) or 'nothing'}"
    return None
