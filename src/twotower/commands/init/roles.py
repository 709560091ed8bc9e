"""The roles of the columns of a log, and questions about those that names and values do not settle."""

import shlex
from collections.abc import Mapping, Set
from typing import Any

import pandas as pd

from twotower.commands.init.detectors import (
    CONTEXT,
    OTHER_DATE,
    ROLES,
    event_role,
    is_binary,
    is_called_event,
    is_flag,
    is_outcome,
    time_unit,
)
from twotower.commands.init.sample import Column, Sample
from twotower.commands.init.words import WORDS
from twotower.config.problems import Problem
from twotower.data.actions import ROLES as EVENT_ROLES
from twotower.data.actions import TRAIN_WEIGHT

SET_BY_FLAG = "set by a flag"
EVENTS_COMMENT = (
    "positive: example and target; train: example only; history: in histories only; "
    "negative: impression without a click"
)
NUM_SHARED, MAX_SPREAD = 20, 0.2
"""Minimum number of rows that show whether a key determines a column, and the maximum spread of the values
within a key, as a share of their spread in the log."""


class Roles:
    """The roles of the columns of a log.

    Args:
        log: a sample of the log.
        flags: role -> column that the user names, or `none`; `threshold`, `unordered`, `events`, `context`,
            `without`.

    Attributes:
        columns: role -> column.
        settings: key of the YAML of the data -> value, and the reason, which may be empty.
        context: names of the columns of the request's context.
        offered: names of other columns that a request may know.
        left_out: name of a column without a role -> reason.
        questions: flags that the user must add.
    """

    def __init__(self, log: Sample, flags: Mapping[str, Any]) -> None:
        self.log, self.flags = log, flags
        self.columns: dict[str, Column] = {}
        self.settings: dict[str, tuple[Any, str]] = {}
        self.questions: list[Problem] = []
        for role, kind in ROLES.items():
            if (column := self._find(role)) is not None:
                reason = SET_BY_FLAG if flags.get(role) else kind.test(column) or ""
                self.columns[role], self.settings[kind.key] = column, (column.name, reason)
        self._infer_unit(self.columns.get("time"))
        if "label" in self.columns:
            self._infer_threshold(self.columns["label"])
        if "event" in self.columns:
            self._infer_events(self.columns["event"])
        if "none" not in (flags.get("label"), flags.get("event")):
            self._ask_about_outcomes()
        self._ask_about_unused_flags()
        self.left_out = {
            column.name: why for column in self._free() if (why := self._reason_left_out(column))
        }
        if (context := flags.get("context")) is None:
            free = [each for each in self._free(CONTEXT.words) if each.name not in self.left_out]
            context = [column.name for column in free if CONTEXT.test(column)]
        self.context = [name for name in context if self._exists("context", name)]
        self.left_out = {name: why for name, why in self.left_out.items() if name not in self.context}
        taken = {*self.context, *self.left_out}
        self.offered = [column.name for column in self._free() if column.name not in taken]

    def _free(self, words: Set[str] = frozenset()) -> list[Column]:
        """Return columns without a role, with one of several words in the name."""
        free = [each for each in self.log.columns.values() if each not in self.columns.values()]
        return [each for each in free if each.has_word(words)] if words else free

    def _ask(self, flag: str, question: str) -> None:
        self.questions.append(Problem(f"--{flag}", question))

    def _ask_about_unused_flags(self) -> None:
        """Ask about flags whose column is not found."""
        if self.questions:
            return  # an answer may give them their column
        for flag, role, what in (("events", "event", "event types"), ("threshold", "label", "labels")):
            if self.flags.get(flag) is not None and role not in self.columns:
                self._ask(flag, f"no column holds {what}; add --{role} COLUMN, or leave --{flag} out")
        if self.flags.get("unordered") and (time := self.settings["timestamp_column"][0]) is not None:
            remedy = "add --time none, or leave --unordered out"
            self._ask("unordered", f"the times of {time!r} order the rows; {remedy}")

    def _exists(self, role: str, name: str) -> bool:
        """Return whether the log has a column that a flag names; otherwise report it."""
        if name not in self.log.columns and (name != "none" or role in ("user", "item")):
            columns = ", ".join(map(repr, self.log.columns))
            self._ask(f"{role} {name}", f"no such column; there are {columns}")
        return name in self.log.columns

    def _find(self, role: str) -> Column | None:
        """Return the column of a role; ask if several fit, or if users or items have none."""
        if (name := self.flags.get(role)) is not None:
            return self.log.columns[name] if self._exists(role, name) else None
        named = {self.flags.get(other) for other in ROLES}
        free = [column for column in self._free(ROLES[role].words) if column.name not in named]
        found = [column for column in free if ROLES[role].test(column)]
        others = [column.num_other_words(ROLES[role].words | WORDS["interaction"]) for column in found]
        is_clear = 0 in others or any(column.is_key for column in found)
        found = [column for column, number in zip(found, others, strict=True) if number == min(others)]
        found = found if is_clear else self._fallback(role) or found
        if role in ("user", "item"):  # `item_id` rather than `item_category_id`, and rather than `item`
            keys = [column for column in found if column.is_key]
            found = keys if len(keys) == 1 else found
            if not found:
                shown = "; ".join(map(str, self.log.columns.values()))
                self._ask(role, f"no column has such a name: {shown}; add --{role} COLUMN")
        if len(found) > 1:
            reason = "several columns hold times" if role == "time" else "several columns may be it"
            self._ask(role, f"{reason}: {'; '.join(map(str, found))}; add --{role} COLUMN")
        return found[0] if len(found) == 1 else None

    def _fallback(self, role: str) -> list[Column]:
        """Return columns called by one of `fallback_words`, alone or as a key: `session_id`."""
        words = ROLES[role].fallback_words
        free = [each for each in self._free() if each.parts and each.parts[0] in words]
        return [each for each in free if {*each.parts[1:]} <= WORDS["session_key"] and not time_unit(each)]

    def _infer_unit(self, column: Column | None) -> None:
        """Set the unit of the times; without times, ask about columns with dates of another kind."""
        if column is not None and (unit := time_unit(column)):
            self.settings["timestamp_unit"] = unit, ""
            return
        order = "rows are in no order" if self.flags.get("unordered") else "the rows of a user are in order"
        self.settings["timestamp_column"] = None, order
        if self.flags.get("unordered"):
            self.settings["ordered"] = False, SET_BY_FLAG
        is_settled = column is None and self.flags.get("time") is not None
        if is_settled or any(problem.key == "--time" for problem in self.questions):
            return
        for each in [column] if column else self._free():
            if column is None and not each.is_key and time_unit(each):
                remedy = f"add --time {each.name} if they are those of the rows, or --time none"
                self._ask("time", f"{each} holds times, but its name does not say which; {remedy}")
            elif each is column or each.has_word(ROLES["time"].words) or each.matches(OTHER_DATE):
                valid = "seconds or milliseconds since 1970, 2024-05-31 or 2024-05-31T12:00:00"
                remedy = "write them so, or add --time none if rows are in order"
                self._ask("time", f"{each} holds no times that are read, such as {valid}; {remedy}")

    def _infer_threshold(self, column: Column) -> None:
        """Set the threshold from the flag; ask for it if the label does not hold 0 and 1."""
        if column.numbers is None:
            remedy = f"add {_event_flags(column)} instead, or --label none if every row is positive"
            self._ask("label", f"{column} holds no numbers; {remedy}")
        elif (threshold := self.flags.get("threshold")) is not None:
            self.settings["label_threshold"] = threshold, "labels from here on are positive"
        elif not is_binary(column):
            remedy = "add --threshold NUMBER, or --label none if every row is positive"
            self._ask("label", f"{_threshold_question(column)} {remedy}")

    def _ask_about_outcomes(self) -> None:
        """Ask which rows are positive if a column says how a row ended, or is called a label and constant."""
        answered = {*(self.flags.get("context") or ()), *(self.flags.get("without") or ())}
        has_label = "label" in self.columns or self.flags.get("label") is not None
        for column in self._free():
            name = shlex.quote(column.name)
            every = f", or --without {name} if every row is positive"
            if column.name in answered:
                continue
            is_constant = column.is_cut and len(column.distinct) == 1
            if is_constant and column.ends_with(ROLES["label"].words) and not has_label:
                remedy = f"add --label {name} --threshold 1 if others follow, or --label none"
                self._ask("label", f"{column.name!r} is called a label: {column.single_value()}; {remedy}")
            elif is_outcome(column) and column.numbers is not None and column.numbers.min() < 0:
                remedy = f"add --label {name} --threshold NUMBER{every}"
                self._ask("label", f"{_threshold_question(column)} {remedy}")
            elif is_outcome(column):
                roles = ", ".join(EVENT_ROLES)
                question = f"{column} says how a row ended: which values are {roles}?"
                self._ask("event", f"{question} add {_event_flags(column)}{every}")

    def _infer_events(self, column: Column) -> None:
        """Set the role of each event type. Without purchases, event types of histories are positive."""
        roles = _event_roles(column, self.flags.get("events") or {})
        if unknown := [word for word, role in roles.items() if not role]:
            example = ",".join(f"{word}=positive" for word in unknown)
            question = f"what do {', '.join(map(repr, unknown))} mean: {', '.join(EVENT_ROLES)}?"
            self._ask("events", f"{question} add --events {example}")
        weights = {"train": {"weight": TRAIN_WEIGHT}}
        events = {word: {"role": role, **weights.get(role, {})} for word, role in roles.items()}
        self.settings["events"] = events, EVENTS_COMMENT

    def _reason_left_out(self, column: Column) -> str:
        """Return why a column without a role is no context; empty if a request may know it."""
        name, number = column.name, len(column.distinct)
        if column.values.empty:
            return "it is empty"
        if number == 1:
            return column.single_value()
        if column.numbers is not None and is_called_event(column):
            return f"it is called an event type; if it is one, add {_event_flags(column)}"
        if is_outcome(column):
            return "it says how a row ended, which the next request does not know"
        is_key = column.is_key or column.ends_with({"session"})
        if is_key and not column.has_word(CONTEXT.words | WORDS["code"]):
            return "its name is that of a key, which the next request does not have"
        if time_unit(column):
            return "it holds times, which are no context"
        if is_flag(column) and not column.has_word(CONTEXT.words):
            values = " and ".join(sorted(column.distinct))
            role = f"--label {name}" if is_binary(column) else _event_flags(column)
            remedy = f"add {role} if it says that the user wanted the item"
            return f"it holds {values}; {remedy}, or --context {name} if a request knows it"
        if column.ends_with(ROLES["label"].words):
            return f"it is called a label, but holds {number} different values, not 0 and 1"
        if self._describes_items(column):
            return "rows of an item share its value, which no request knows: put it into a file of items"
        if column.numbers is not None and column.has_word(WORDS["purchase"]):
            return f"a request knows no {name} before an item is chosen; if it does, add --context {name}"
        return ""

    def _describes_items(self, column: Column) -> bool:
        """Return whether the item alone determines the value, so that no request knows it before the item."""
        if column.has_lists or not {"user", "item"} <= self.columns.keys():
            return False
        keys = {key: self.columns[key].values for key in ("user", "item")}
        rows = pd.DataFrame({**keys, "value": column.values.astype("str")}).dropna().drop_duplicates()
        if len(rows) < NUM_SHARED:
            return False
        spread = 1 - rows["value"].value_counts(normalize=True).iloc[0]

        def determines(key: str) -> bool:
            shared = rows[rows.duplicated(key, keep=False)]
            most = shared.groupby([key, "value"]).size().groupby(key).max().sum()
            return len(shared) >= NUM_SHARED and bool(1 - most / len(shared) <= MAX_SPREAD * spread)

        return determines("item") and not determines("user")


def _threshold_question(column: Column) -> str:
    numbers = column.numbers
    assert numbers is not None
    span = f"{column.name!r} holds {numbers.min():g} to {numbers.max():g}"
    return f"{span}: from which value on is an item positive?"


def _event_roles(column: Column, flags: Mapping[str, str]) -> dict[str, str]:
    """Return the flag or usual role of each event type; without purchases and flags, views are positive."""
    words = [*column.distinct, *flags]  # some may come after the sample
    roles = {word: flags.get(word) or event_role(word) for word in words}
    if "positive" not in roles.values() and not flags:
        roles |= {word: "positive" for word, role in roles.items() if role in ("train", "history")}
    return roles


def _event_flags(column: Column) -> str:
    """Return the flags that make a column the event type, with the usual role of each value."""
    roles = ",".join(f"{word}={role or 'ROLE'}" for word, role in _event_roles(column, {}).items())
    return shlex.join(["--event", column.name, "--events", roles])
