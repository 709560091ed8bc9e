"""Infers the roles of the columns of a log from their names and values; asks for the rest."""

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
"""Role -> event types that have it in a log with purchases."""


def infer_roles(log: Sample, flags: Mapping[str, Any]) -> Roles:
    """Infer the roles of the columns of a log.

    Args:
        log: a sample of the log.
        flags: role -> column that the user names, or `none`; `threshold`, `unit`, `events`, `context`.
    """
    roles = Roles(threshold=flags.get("threshold"))
    _check_named(log, flags, roles)
    for role in ("user", "item"):
        _take_key(role, log, flags, roles)
    take_time(log, flags, roles)
    _take_split(log, roles)
    take_label(log, flags, roles)
    _take_event(log, flags, roles)
    _take_context(log, flags, roles)
    for column in free_columns(log, roles):
        if column.name not in (*roles.context, *roles.left_out):
            roles.left_out[column.name] = _reason_left_out(column)
    return roles


def _reason_left_out(column: Column) -> str:
    """Return why a column is left out, and the flag or the setting that uses it."""
    if scale_of(column) is BINARY:
        return f"it holds 0 and 1; add --label {column.name} if 1 says that the user wanted the item"
    if column.numbers is None:
        return "its name suggests no role"
    return "its name suggests no role; data.weight_column weights rows by a column of numbers"


def _check_named(log: Sample, flags: Mapping[str, Any], roles: Roles) -> None:
    named = {role: flags[role] for role in ("user", "item", "time", "label", "event") if flags.get(role)}
    named |= {f"context {name}": name for name in flags.get("context") or ()}
    for role, name in named.items():
        if name not in log.columns and name != NONE:
            there = ", ".join(map(repr, log.columns))
            roles.questions.append(
                Problem(f"--{role.split()[0]} {name}", f"no such column; there are {there}")
            )


def _take_key(role: str, log: Sample, flags: Mapping[str, Any], roles: Roles) -> None:
    if flags.get(role):
        roles.take(role, flags[role], "set by a flag")
        return
    found = named_columns(role, log, roles)
    keys = [column for column in found if column.is_key]
    found = keys if len(keys) == 1 else found
    if len(found) == 1:
        roles.take(role, found[0].name, "its name")
        return
    shown = "; ".join(column.examples() for column in (found or log.columns.values()))
    reason = "several columns may be it" if found else "no column has such a name"
    roles.questions.append(Problem(f"--{role}", f"{reason}: {shown}; add --{role} COLUMN"))


def _take_split(log: Sample, roles: Roles) -> None:
    for column in named_columns("split", log, roles):
        if set(column.distinct) <= {"train", "valid", "test"} and len(column.distinct) > 1:
            roles.take("split", column.name, "it holds train, valid or test")


def _take_event(log: Sample, flags: Mapping[str, Any], roles: Roles) -> None:
    named = chosen_column("event", log, flags)
    if flags.get("event") is not None:
        found = [] if named is None else [named]
    else:
        found = [each for each in named_columns("event", log, roles) if 1 < len(each.distinct) <= FEW]
        for column in (each for each in found if each.numbers is not None):
            remedy = f"--event {column.name} --events {column.distinct[0]}=positive,..."
            roles.left_out[column.name] = f"it holds numbers; add {remedy} if they are event types"
        found = [column for column in found if column.numbers is None]
    if len(found) > 1:
        shown = "; ".join(column.examples() for column in found)
        roles.questions.append(Problem("--event", f"several columns may be it: {shown}; add --event COLUMN"))
    for column in found if len(found) == 1 else ():
        roles.left_out.pop(column.name, None)
        roles.take("event", column.name, "set by a flag" if named else "its name, and it holds few words")
        roles.events = _events(column.distinct, flags.get("events") or {}, roles)


def _events(words: list[str], flags: Mapping[str, str], roles: Roles) -> dict[str, str]:
    """Return event type -> role. Without purchases, event types of histories are positive."""
    known = {word: role for role, text in EVENTS.items() for word in text.split()}
    found = {word: flags.get(word) or known.get(word.casefold(), "") for word in words}
    if "positive" not in found.values() and not flags:
        found = {word: "positive" if role == "history" else role for word, role in found.items()}
    unknown = [word for word, role in found.items() if not role]
    if unknown:
        example = ",".join(f"{word}=positive" for word in unknown)
        question = f"what do {', '.join(map(repr, unknown))} mean: {', '.join(EVENT_ROLES)}?"
        roles.questions.append(Problem("--events", f"{question} add --events {example}"))
    return found


def _take_context(log: Sample, flags: Mapping[str, Any], roles: Roles) -> None:
    if flags.get("context") is not None:
        roles.context = [name for name in flags["context"] if name in log.columns]
    else:
        for column in named_columns("context", log, roles):
            if 1 < len(column.distinct) <= 1000 and not re.fullmatch(ISO, column.distinct[0]):
                roles.context.append(column.name)
    for name in roles.context:
        roles.left_out.pop(name, None)
