"""What a store keeps, read while a service may go on writing to it."""

import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from twotower.config.errors import InputError
from twotower.serving.live.change_store import changes_in
from twotower.serving.live.changes import EventAdded, ItemPut, ItemRemoved, UserPut
from twotower.serving.live.store_check import check, remedy


@dataclass(frozen=True, eq=False)
class StoredChanges:
    """The changes of a store, of one moment: items and profiles in their last state, events as they came."""

    puts: list[ItemPut] = field(default_factory=list)
    removals: list[ItemRemoved] = field(default_factory=list)
    events: list[EventAdded] = field(default_factory=list)
    profiles: list[UserPut] = field(default_factory=list)


def read_stored_changes(path: Path) -> StoredChanges:
    """Read all changes of a store without changing its files; whoever has it open may go on.

    Raises InputError: there is no such store, it is damaged, or it lacks what was acknowledged.
    """
    path = Path(path).resolve()
    if check(path) is None:
        raise InputError(f"{path}: there is no store of live changes; name the file that the service keeps")
    kept = StoredChanges()
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            for change in changes_in(connection):
                match change:
                    case ItemPut():
                        kept.puts.append(change)
                    case ItemRemoved():
                        kept.removals.append(change)
                    case EventAdded():
                        kept.events.append(change)
                    case UserPut():
                        kept.profiles.append(change)
    except (sqlite3.Error, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); {remedy(path)}") from error
    return kept
