"""The three tables every source returns."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pandas as pd

from twotower.config.problems import legible, listed
from twotower.data.column import Column

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
        faults: ("interactions", "timestamp") and so on -> what the source itself found wrong with that
            column; `checked` tells it with all the rest.
    """

    interactions: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    origins: dict[str, str]
    item_label: str | None = None
    file_columns: dict[str, str] = field(default_factory=dict)
    faults: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        interactions: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
        origins: Mapping[str, str | None] = MappingProxyType({}),
        **others: Any,
    ) -> "Tables":
        """Return the tables of a source that may have none of users or of items.

        Those are then the distinct ids of the interactions, without features, and come from the same place.
        Arguments are those of the class.
        """
        place = origins.get("interactions") or "interactions"
        return cls(
            interactions,
            _entities(interactions, USER_ID) if users is None else users,
            _entities(interactions, ITEM_ID) if items is None else items,
            {name: origins.get(name) or place for name in ("interactions", "users", "items")},
            **others,
        )

    def column(self, table: str, key: str) -> Column:
        """Return a column as messages name it.

        Args:
            table: "interactions", "users" or "items".
            key: of the column in that table.
        """
        return Column(getattr(self, table), key, self.origins[table], self.file_columns.get(key, key))


def _entities(interactions: pd.DataFrame, key: str) -> pd.DataFrame:
    try:
        return interactions[[key]].drop_duplicates()
    except (KeyError, TypeError):  # no such column, or lists and the like in it: `checked` refuses both
        return interactions.iloc[:0]


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
