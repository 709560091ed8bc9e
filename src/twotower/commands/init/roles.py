"""The role of each column of a log, inferred from its name and values, and questions for the rest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from twotower.commands.init.sample import Column, Sample
from twotower.config.problems import Problem
from twotower.data.actions import ROLES as EVENT_ROLES
from twotower.data.times import LATEST, YEAR

NONE = "none"
SET_BY_FLAG = "set by a flag"

ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
OTHER_DATE = r"\d{1,4}[./]\d{1,2}[./]\d{1,4}.*"
FACTORS = {"s": 1, "ms": 1000}
UNITS = {"s": "seconds since 1970", "ms": "milliseconds since 1970", "iso": "dates in ISO 8601"}

RATING = "label target rating ratings score stars overall grade bewertung note sterne"
"""Names of labels that may hold any numbers; other labels are 0 and 1, or -1 and 1."""
BINARY, SIGNED = frozenset({0, 1}), frozenset({-1, 0, 1})
SIGNED_THRESHOLD = 1.0
"""Threshold of labels -1 and 1; 0 is not positive."""
MAX_EVENT_TYPES, MAX_CONTEXTS = 30, 1000
EVENTS = {
    "positive": "purchase purchased buy bought order ordered transaction checkout kauf gekauft bestellung",
    "history": "view viewed pageview detail details click clicked cart add2cart addtocart add_to_cart "
    "favorite favourite fav wishlist play played read search ansicht geklickt warenkorb",
    "ignored": "remove_from_cart remove removed return returned refund cancel cancelled ping login logout",
    "negative": "skip skipped dislike disliked impression shown hide",
}
"""Role -> event types that have it in a log with purchases."""
EVENTS_COMMENT = (
    "positive: example and target; train: example only; history: in histories only; "
    "negative: impression without a click"
)


def time_unit(column: Column) -> str | None:
    """Return the unit of times: s, ms or iso; None if the values are not readable as times."""
    if column.numbers is not None:
        middle = float(column.numbers.median()) if len(column.numbers) else 0
        units = (unit for unit, factor in FACTORS.items() if 5 * YEAR * factor < middle < LATEST * factor)
        return next(units, None)
    is_time = pd.api.types.is_datetime64_any_dtype(column.values.dtype) or column.matches(ISO)
    return "iso" if is_time else None


def _time_reason(column: Column) -> str | None:
    unit = time_unit(column)
    if unit is None or column.numbers is None:
        return f"it holds {UNITS[unit]}" if unit else None
    first, last = (
        np.datetime64(int(value) // FACTORS[unit], "s").astype("datetime64[D]")
        for value in (column.numbers.min(), column.numbers.max())
    )
    return f"it holds {UNITS[unit]}, here from {first} to {last}"


def label_scale(column: Column) -> frozenset[int] | None:
    """Return `BINARY` or `SIGNED` if the values are such labels, else None."""
    if column.numbers is None or len(column.distinct) < 2:
        return None
    values = set(column.numbers.unique())
    return next((scale for scale in (BINARY, SIGNED) if values <= scale), None)


def _label_reason(column: Column) -> str | None:
    if (scale := label_scale(column)) is not None:
        what = "0 and 1" if scale is BINARY else "-1 and 1: 1 is positive, what is lower negative"
        return f"it holds {what}"
    is_rating = column.numbers is not None and column.has_word(RATING)
    is_pair = column.numbers is None and len(column.distinct) == 2
    return "its name" if is_rating or is_pair else None


def _split_reason(column: Column) -> str | None:
    is_split = len(column.distinct) > 1 and set(column.distinct) <= {"train", "valid", "test"}
    return "it holds train, valid or test" if is_split else None


def _event_reason(column: Column) -> str | None:
    is_event = column.numbers is None and 1 < len(column.distinct) <= MAX_EVENT_TYPES
    return "its name, and it holds few words" if is_event else None


def _context_reason(column: Column) -> str | None:
    is_context = 1 < len(column.distinct) <= MAX_CONTEXTS and not column.matches(ISO)
    return "its name" if is_context else None


@dataclass(frozen=True)
class Role:
    """How the column of a role is recognized.

    Attributes:
        words: words of its name.
        reason: why the values of a column with this name fit; None if they do not.
    """

    words: str
    reason: Callable[[Column], str | None] = lambda column: "its name"


ROLES = {
    "user": Role(
        """user users uid customer customers client visitor member account buyer reviewer reader listener
        student person patient household kunde kunden käufer nutzer benutzer besucher mitglied utilisateur
        usuario cliente 用户 用户id"""
    ),
    "item": Role(
        """item items iid sku ean product products article movie film book song track artist asin
        parent isbn business listing ad offer content news video game recipe stock stockcode artikel produkt
        ware waren buch lied titel produit producto 商品 商品id 物品"""
    ),
    "time": Role(
        """time timestamp ts date datetime created unixreviewtime unixtime when zeit zeitpunkt
        zeitstempel datum kaufdatum bestelldatum fecha heure 时间 时间戳""",
        _time_reason,
    ),
    "split": Role("split fold set part", _split_reason),
    "label": Role(f"clicked click liked like purchased bought y reward feedback {RATING}", _label_reason),
    "event": Role(
        "event action behavior behaviour type interaction ereignis aktion vorgang 行为", _event_reason
    ),
    "context": Role(
        """device platform channel os browser page country region store hour weekday gerät geraet
        kanal land filiale stunde""",
        _context_reason,
    ),
}
KEYS = {
    "user": "user_column",
    "item": "item_column",
    "time": "timestamp_column",
    "split": "split_column",
    "label": "label_column",
    "event": "event_column",
}
"""Role of one column -> the key that names it, in the order of inference."""


@dataclass
class Roles:
    """The roles of the columns of a log.

    Attributes:
        columns: role -> column; contexts are in `context`.
        settings: key of the YAML of the data -> value, and the reason, which may be empty.
        context: columns of the request's context.
        left_out: column without a role -> reason.
        questions: questions to the user.
    """

    columns: dict[str, str] = field(default_factory=dict)
    settings: dict[str, tuple[Any, str]] = field(default_factory=dict)
    context: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    questions: list[Problem] = field(default_factory=list)

    def column(self, role: str, log: Sample) -> Column | None:
        """Return the column of a role."""
        return log.columns.get(self.columns.get(role, ""))

    def ask(self, flag: str, question: str) -> None:
        """Ask the user for a flag."""
        self.questions.append(Problem(f"--{flag}", question))


def infer_roles(log: Sample, flags: Mapping[str, Any]) -> Roles:
    """Infer the roles of the columns of a log.

    Args:
        log: a sample of the log.
        flags: role -> column that the user names, or `none`; `threshold`, `unordered`, `events`,
            `context`.
    """
    roles = Roles()
    named = [(role, flags[role]) for role in KEYS if flags.get(role)]
    for role, name in named + [("context", name) for name in flags.get("context") or ()]:
        if name not in log.columns and (name != NONE or role in ("user", "item")):
            columns = ", ".join(map(repr, log.columns))
            roles.ask(f"{role} {name}", f"no such column; there are {columns}")

    def free() -> list[Column]:
        return [column for name, column in log.columns.items() if name not in roles.columns.values()]

    for role in KEYS:
        if (column := _find(role, log, free(), flags, roles)) is not None:
            reason = SET_BY_FLAG if flags.get(role) else ROLES[role].reason(column)
            roles.columns[role] = column.name
            roles.settings[KEYS[role]] = column.name, str(reason)
    _infer_unit(roles.column("time", log), free(), flags, roles)
    _infer_threshold(roles.column("label", log), flags.get("threshold"), roles)
    _infer_events(roles.column("event", log), flags.get("events") or {}, roles)
    context = ROLES["context"]
    suggested = [each.name for each in free() if each.has_word(context.words) and context.reason(each)]
    wanted = suggested if flags.get("context") is None else flags["context"]
    roles.context = [name for name in wanted if name in log.columns]
    roles.left_out = {
        column.name: _reason_left_out(column) for column in free() if column.name not in roles.context
    }
    return roles


def _find(
    role: str, log: Sample, free: list[Column], flags: Mapping[str, Any], roles: Roles
) -> Column | None:
    """Return the column of a role; ask if several fit, or if users or items have none."""
    if flags.get(role) is not None:
        return log.columns.get(flags[role])
    named = [column for column in free if column.has_word(ROLES[role].words)]
    found = [column for column in named if ROLES[role].reason(column)]
    if role in ("user", "item"):
        keys = [column for column in found if column.is_key]
        found = keys if len(keys) == 1 else found
        if not found:
            shown = "; ".join(column.examples() for column in log.columns.values())
            roles.ask(role, f"no column has such a name: {shown}; add --{role} COLUMN")
    if len(found) > 1:
        reason = "several columns hold times" if role == "time" else "several columns may be it"
        shown = "; ".join(column.examples() for column in found)
        roles.ask(role, f"{reason}: {shown}; add --{role} COLUMN")
    return found[0] if len(found) == 1 else None


def _infer_unit(column: Column | None, free: list[Column], flags: Mapping[str, Any], roles: Roles) -> None:
    """Set the unit of the times; without times, ask about columns with dates of another kind."""
    if column is not None and (unit := time_unit(column)):
        roles.settings["timestamp_unit"] = unit, ""
        return
    if flags.get("unordered"):
        roles.settings["timestamp_column"] = None, "rows are in no order"
        roles.settings["ordered"] = False, SET_BY_FLAG
    else:
        roles.settings["timestamp_column"] = None, "the rows of a user are in order"
    is_settled = column is None and flags.get("time") is not None
    if is_settled or any(problem.key == "--time" for problem in roles.questions):
        return
    for each in [column] if column else free:
        if each.matches(OTHER_DATE):
            problem = "holds dates that are read only as 2024-05-31 or 2024-05-31T12:00:00"
        elif each is column or each.has_word(ROLES["time"].words):
            problem = "is called a time, but holds neither seconds nor milliseconds since 1970 nor such dates"
        else:
            continue
        remedy = "write them so, or add --time none if rows are in order"
        roles.ask("time", f"{each.examples()} {problem}; {remedy}")


def _infer_threshold(column: Column | None, threshold: float | None, roles: Roles) -> None:
    """Set the threshold of a label: 1 for -1 and 1, that of the user for ratings."""
    if column is None:
        return
    scale = label_scale(column)
    if column.numbers is None:
        remedy = "write 1 for positive and 0 for negative, or add --label none if every row is positive"
        roles.ask("label", f"{column.examples()} holds no numbers; {remedy}")
    elif threshold is not None or scale is SIGNED:
        value = SIGNED_THRESHOLD if threshold is None else threshold
        roles.settings["label_threshold"] = value, "labels from here on are positive"
    elif scale is None:
        span = f"{column.name!r} holds {column.numbers.min():g} to {column.numbers.max():g}"
        remedy = "add --threshold NUMBER, or --label none if every row is positive"
        roles.ask("label", f"{span}: from which value on is an item positive? {remedy}")


def _infer_events(column: Column | None, flags: Mapping[str, str], roles: Roles) -> None:
    """Set the role of each event type. Without purchases, event types of histories are positive."""
    if column is None:
        return
    known = {word: role for role, text in EVENTS.items() for word in text.split()}
    found = {word: flags.get(word) or known.get(word.casefold(), "") for word in column.distinct}
    if "positive" not in found.values() and not flags:
        found = {word: "positive" if role == "history" else role for word, role in found.items()}
    if unknown := [word for word, role in found.items() if not role]:
        example = ",".join(f"{word}=positive" for word in unknown)
        question = f"what do {', '.join(map(repr, unknown))} mean: {', '.join(EVENT_ROLES)}?"
        roles.ask("events", f"{question} add --events {example}")
    roles.settings["events"] = {word: {"role": role} for word, role in found.items()}, EVENTS_COMMENT


def _reason_left_out(column: Column) -> str:
    """Return why a column is left out."""
    if label_scale(column) is BINARY:
        return f"it holds 0 and 1; add --label {column.name} if 1 says that the user wanted the item"
    if column.has_word(ROLES["label"].words):
        return f"it is called a label, but holds {len(column.distinct)} different values, not 0 and 1"
    return "its name suggests no role"
