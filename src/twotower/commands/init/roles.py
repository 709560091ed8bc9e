"""What the columns of a log are, by their names and their values; what neither tells is asked for."""

import re
from collections.abc import Mapping
from typing import Any

from twotower.commands.init.label_column import BINARY, scale_of, take_label
from twotower.commands.init.role_names import NONE, Roles, chosen_column, free_columns, named_columns
from twotower.commands.init.sample import Column, Sample
from twotower.commands.init.time_column import ISO, take_time
from twotower.config.problems import Problem
from twotower.data.actions import ROLES as EVENT_ROLES

FEW = 30
"""Most event types."""
EVENTS = {
    "positive": "purchase purchased buy bought order ordered transaction checkout kauf gekauft bestellung",
    "history": "view viewed pageview detail details click clicked cart add2cart addtocart add_to_cart "
    "favorite favourite fav wishlist play played read search ansicht geklickt warenkorb",
    "ignored": "remove_from_cart remove removed return returned refund cancel cancelled ping login logout",
    "negative": "skip skipped dislike disliked impression shown hide",
}
"""Role of an event -> words that have it where something is bought or, else, done."""


def roles_of(log: Sample, said: Mapping[str, Any]) -> Roles:
    """Find the roles of the columns of a log.

    Args:
        log: the sample of it.
        said: role -> column that the user names, or `none`; `threshold`, `unit`, `events`, `context`.
    """
    roles = Roles(threshold=said.get("threshold"))
    _check_named(log, said, roles)
    for role in ("user", "item"):
        _take_key(role, log, said, roles)
    take_time(log, said, roles)
    _take_split(log, roles)
    take_label(log, said, roles)
    _take_event(log, said, roles)
    _take_context(log, said, roles)
    for column in free_columns(log, roles):
        if column.name not in (*roles.context, *roles.left_out):
            roles.left_out[column.name] = _no_role(column)
    return roles


def _no_role(column: Column) -> str:
    """Return why a column is left out, and the flag or the setting that uses it."""
    if scale_of(column) is BINARY:
        return f"it holds 0 and 1; add --label {column.name} if 1 says that the user wanted the item"
    if column.numbers is None:
        return "its name suggests no role"
    return "its name suggests no role; data.weight_column weights rows by a column of numbers"


def _check_named(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    named = {role: said[role] for role in ("user", "item", "time", "label", "event") if said.get(role)}
    named |= {f"context {name}": name for name in said.get("context") or ()}
    for role, name in named.items():
        if name not in log.columns and name != NONE:
            there = ", ".join(map(repr, log.columns))
            roles.asked.append(Problem(f"--{role.split()[0]} {name}", f"no such column; there are {there}"))


def _take_key(role: str, log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    if said.get(role):
        roles.take(role, said[role], "you say so")
        return
    found = named_columns(role, log, roles)
    keys = [column for column in found if column.is_key]
    found = keys if len(keys) == 1 else found
    if len(found) == 1:
        roles.take(role, found[0].name, "its name")
        return
    shown = "; ".join(column.examples() for column in (found or log.columns.values()))
    reason = "several columns may be it" if found else "no column has such a name"
    roles.asked.append(Problem(f"--{role}", f"{reason}: {shown}; add --{role} COLUMN"))


def _take_split(log: Sample, roles: Roles) -> None:
    for column in named_columns("split", log, roles):
        if set(column.distinct) <= {"train", "valid", "test"} and len(column.distinct) > 1:
            roles.take("split", column.name, "it holds train, valid or test")


def _take_event(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    named = chosen_column("event", log, said)
    if said.get("event") is not None:
        found = [] if named is None else [named]
    else:
        found = [each for each in named_columns("event", log, roles) if 1 < len(each.distinct) <= FEW]
        for column in (each for each in found if each.numbers is not None):
            flags = f"--event {column.name} --events {column.distinct[0]}=positive,..."
            roles.left_out[column.name] = f"it holds numbers; add {flags} if they are types of events"
        found = [column for column in found if column.numbers is None]
    if len(found) > 1:
        shown = "; ".join(column.examples() for column in found)
        roles.asked.append(Problem("--event", f"several columns may be it: {shown}; add --event COLUMN"))
    for column in found if len(found) == 1 else ():
        roles.left_out.pop(column.name, None)
        roles.take("event", column.name, "you say so" if named else "its name, and it holds few words")
        roles.events = _events(column.distinct, said.get("events") or {}, roles)


def _events(words: list[str], said: Mapping[str, str], roles: Roles) -> dict[str, str]:
    """Return word -> role; without anything bought, what is otherwise history is what is wanted."""
    known = {word: role for role, text in EVENTS.items() for word in text.split()}
    found = {word: said.get(word) or known.get(word.casefold(), "") for word in words}
    if "positive" not in found.values() and not said:
        found = {word: "positive" if role == "history" else role for word, role in found.items()}
    unknown = [word for word, role in found.items() if not role]
    if unknown:
        example = ",".join(f"{word}=positive" for word in unknown)
        told = f"what do {', '.join(map(repr, unknown))} stand for: {', '.join(EVENT_ROLES)}?"
        roles.asked.append(Problem("--events", f"{told} add --events {example}"))
    return found


def _take_context(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    if said.get("context") is not None:
        roles.context = [name for name in said["context"] if name in log.columns]
    else:
        for column in named_columns("context", log, roles):
            if 1 < len(column.distinct) <= 1000 and not re.fullmatch(ISO, column.distinct[0]):
                roles.context.append(column.name)
    for name in roles.context:
        roles.left_out.pop(name, None)
