"""What the columns of a log are, by their names and their values; what neither tells is asked for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from twotower.commands.init.sample import Column, Sample
from twotower.config.problems import Problem
from twotower.data.times import LATEST, SECONDS_A_DAY

WORDS = {
    "user": """user users uid customer customers client visitor member account buyer reviewer reader listener
        student person patient household kunde kunden käufer nutzer benutzer besucher mitglied utilisateur
        usuario cliente 用户 用户id""",
    "item": """item items iid sku ean product products article movie film book song track artist asin
        parent isbn business listing ad offer content news video game recipe stock stockcode artikel produkt
        ware waren buch lied titel produit producto 商品 商品id 物品""",
    "time": """time timestamp ts date datetime created unixreviewtime unixtime when zeit zeitpunkt
        zeitstempel datum kaufdatum bestelldatum fecha heure 时间 时间戳""",
    "label": """label clicked click liked like target purchased bought rating ratings score stars overall
        grade bewertung note sterne""",
    "event": "event action behavior behaviour type interaction ereignis aktion vorgang 行为",
    "context": """device platform channel os browser page country region store hour weekday gerät geraet
        kanal land filiale stunde""",
    "split": "split fold set part",
}
"""Role -> words of names that say so."""
ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
OTHER_DATE = r"\d{1,4}[./]\d{1,2}[./]\d{1,4}.*"
FEW = 30
"""Words of events, and values of a rating."""
NONE = "none"
EVENTS = {
    "positive": "purchase purchased buy bought order ordered transaction checkout kauf gekauft bestellung",
    "history": "view viewed pageview detail details click clicked cart add2cart addtocart add_to_cart "
    "favorite favourite fav wishlist play played read search ansicht geklickt warenkorb",
    "ignored": "remove_from_cart remove removed return returned refund cancel cancelled ping login logout",
    "negative": "skip skipped dislike disliked impression shown hide",
}
"""Role of an event -> words that have it where something is bought or, else, done."""


@dataclass
class Roles:
    """Role -> column and what was gone by; what must be asked; what was left out and why."""

    columns: dict[str, str] = field(default_factory=dict)
    because: dict[str, str] = field(default_factory=dict)
    unit: str = "s"
    threshold: float | None = None
    events: dict[str, str] = field(default_factory=dict)
    context: list[str] = field(default_factory=list)
    asked: list[Problem] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def take(self, role: str, column: str, because: str) -> None:
        """Give a role to a column."""
        self.columns[role], self.because[role] = column, because


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
    _take_time(log, said, roles)
    _take_split(log, roles)
    _take_label(log, said, roles)
    _take_event(log, said, roles)
    _take_context(log, said, roles)
    for name, column in log.columns.items():
        if name not in (*roles.columns.values(), *roles.context, *roles.left_out):
            hint = "; weight_column counts rows by it" if column.numbers is not None else ""
            roles.left_out[name] = f"no role is known for it{hint}"
    return roles


def _check_named(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    named = {role: said[role] for role in ("user", "item", "time", "label", "event") if said.get(role)}
    named |= {f"context {name}": name for name in said.get("context") or ()}
    for role, name in named.items():
        if name not in log.columns and name != NONE:
            there = ", ".join(map(repr, log.columns))
            roles.asked.append(Problem(f"--{role.split()[0]} {name}", f"no such column; there are {there}"))


def _named(role: str, log: Sample, roles: Roles) -> list[Column]:
    """Return the columns whose names say a role, those that have one already left out."""
    words = set(WORDS[role].split())
    free = [column for name, column in log.columns.items() if name not in roles.columns.values()]
    return [column for column in free if column.words & words]


def _take_key(role: str, log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    if said.get(role):
        roles.take(role, said[role], "you say so")
        return
    found = _named(role, log, roles)
    keys = [column for column in found if column.is_key]
    found = keys if len(keys) == 1 else found
    if len(found) == 1:
        roles.take(role, found[0].name, "its name")
        return
    shown = "; ".join(column.examples() for column in (found or log.columns.values()))
    reason = "several columns may be it" if found else "no column has such a name"
    roles.asked.append(Problem(f"--{role}", f"{reason}: {shown}; add --{role} COLUMN"))


def unit_of(column: Column) -> str | None:
    """Return the unit of times: s, ms or iso; None where the values are no times that are read."""
    numbers = column.numbers
    if numbers is not None:
        middle = float(numbers.median()) if len(numbers) else 0
        for unit, factor in (("s", 1), ("ms", 1000)):
            if 5 * 365 * SECONDS_A_DAY * factor < middle < LATEST * factor:
                return unit
        return None
    if pd.api.types.is_datetime64_any_dtype(column.values.dtype):
        return "iso"
    texts = column.values.astype("str")
    return "iso" if len(texts) and texts.str.fullmatch(ISO).all() else None


def _take_time(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    name = said.get("time")
    if name == NONE or (name and name not in log.columns):
        return
    named = [log.columns[name]] if name else _named("time", log, roles)
    units = {column.name: unit_of(column) for column in named}
    fitting = [column for column in named if units[column.name]]
    if not named:  # dates are what they are whatever they are called
        free = [column for key, column in log.columns.items() if key not in roles.columns.values()]
        fitting = [column for column in free if column.numbers is None and unit_of(column)]
    if len(fitting) == 1:
        column = fitting[0]
        roles.unit = said.get("unit") or units.get(column.name) or "iso"
        why = {"s": "seconds since 1970", "ms": "milliseconds since 1970", "iso": "dates in ISO 8601"}
        roles.take("time", column.name, "you say so" if name else f"it holds {why[roles.unit]}")
    elif fitting:
        shown = "; ".join(column.examples() for column in fitting)
        roles.asked.append(Problem("--time", f"several columns hold times: {shown}; add --time COLUMN"))
    else:
        _ask_for_times(named or list(log.columns.values()), bool(named), roles)


def _ask_for_times(columns: list[Column], named: bool, roles: Roles) -> None:
    for column in columns:
        if column.name in roles.columns.values():
            continue
        if len(column.values) and column.values.astype("str").str.fullmatch(OTHER_DATE).all():
            problem = "holds dates that are read only as 2024-05-31 or 2024-05-31T12:00:00"
        elif named:
            problem = "is called a time, but holds neither seconds nor milliseconds since 1970 nor such dates"
        else:
            continue
        remedy = "write them so, or add --time none if rows stand in order"
        roles.asked.append(Problem("--time", f"{column.examples()} {problem}; {remedy}"))


def _take_split(log: Sample, roles: Roles) -> None:
    for column in _named("split", log, roles):
        if set(column.distinct) <= {"train", "valid", "test"} and len(column.distinct) > 1:
            roles.take("split", column.name, "it holds train, valid or test")


def _take_label(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    name = said.get("label")
    if name == NONE or (name and name not in log.columns):
        return
    for column in [log.columns[name]] if name else _named("label", log, roles):
        numbers = column.numbers
        if numbers is None:
            if name:
                told = f"{column.examples()} holds no numbers; write 1 for wanted and 0 for not"
                roles.asked.append(Problem("--label", told))
        elif "label" in roles.columns:
            roles.asked.append(
                Problem("--label", f"{roles.columns['label']!r} or {column.examples()}? add it")
            )
        elif set(numbers.unique()) <= {0, 1}:
            roles.take("label", column.name, "you say so" if name else "its name, and it holds 0 and 1")
        elif roles.threshold is not None:
            roles.take("label", column.name, f"its name; wanted from {roles.threshold:g} on, as you say")
        else:
            span = f"{column.name!r} holds {numbers.min():g} to {numbers.max():g}"
            asked = f"{span}: from which on was an item wanted?"
            remedy = "add --threshold NUMBER, or --label none if every row says that it was"
            roles.asked.append(Problem("--label", f"{asked} {remedy}"))


def _take_event(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    name = said.get("event")
    if name == NONE or (name and name not in log.columns):
        return
    found = [log.columns[name]] if name else _named("event", log, roles)
    found = [column for column in found if 1 < len(column.distinct) <= FEW and column.numbers is None]
    if len(found) > 1:
        shown = "; ".join(column.examples() for column in found)
        roles.asked.append(Problem("--event", f"several columns may be it: {shown}; add --event COLUMN"))
    for column in found if len(found) == 1 else ():
        roles.take("event", column.name, "you say so" if name else "its name, and it holds few words")
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
        told = f"what do {', '.join(map(repr, unknown))} stand for: positive, history, negative or ignored?"
        roles.asked.append(Problem("--events", f"{told} add --events {example}"))
    return found


def _take_context(log: Sample, said: Mapping[str, Any], roles: Roles) -> None:
    if said.get("context") is not None:
        roles.context = [name for name in said["context"] if name in log.columns]
        return
    for column in _named("context", log, roles):
        if 1 < len(column.distinct) <= 1000 and not re.fullmatch(ISO, column.distinct[0]):
            roles.context.append(column.name)
