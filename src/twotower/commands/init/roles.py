"""The roles of the columns of a log, and questions about those that names and values do not settle."""

import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from twotower.commands.init.detectors import (
    MAX_EVENT_TYPES,
    OTHER_DATE,
    ROLES,
    event_role,
    is_binary,
    is_called_event,
    is_context,
    is_flag,
    is_outcome,
    time_unit,
)
from twotower.commands.init.sample import WORDS, Column, Sample
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
        left_out: name of another column without a role -> reason.
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
            column, threshold = self.columns["label"], flags.get("threshold")
            if column.numbers is None or (threshold is None and not is_binary(column)):
                self._ask_which_rows(column, "--label none")
            elif threshold is not None:
                self.settings["label_threshold"] = threshold, "labels from here on are positive"
        if "event" in self.columns:
            self._infer_events(self.columns["event"])
        if "none" not in (flags.get("label"), flags.get("event")):
            self._ask_about_outcomes()
        self._ask_about_unused_flags()
        reasons = {column.name: self._reason_left_out(column) for column in self._free()}
        context = flags.get("context")
        context = [name for name, why in reasons.items() if not why] if context is None else context
        self.context = [name for name in context if self._exists("context", name)]
        self.left_out = {
            name: why or "--context does not name it"
            for name, why in reasons.items()
            if name not in self.context
        }

    def _free(self) -> list[Column]:
        """Return the columns without a role."""
        return [each for each in self.log.columns.values() if each not in self.columns.values()]

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
        free = [each for each in self._free() if each.has_word(ROLES[role].words)]
        found = [each for each in free if each.name not in named and ROLES[role].test(each)]
        others = [column.num_other_words(ROLES[role].words | WORDS["interaction"]) for column in found]
        is_clear = 0 in others or any(column.is_key for column in found)
        found = [column for column, number in zip(found, others, strict=True) if number == min(others)]
        if (
            role == "user" and not is_clear
        ):  # columns called by a word of sessions, alone or as a key: `session_id`
            free = [each for each in self._free() if each.parts and each.parts[0] in WORDS["session"]]
            keys = [
                each for each in free if {*each.parts[1:]} <= WORDS["session_key"] and not time_unit(each)
            ]
            found = keys or found
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
            is_called = each is column or each.has_word(ROLES["time"].words) or each.matches(OTHER_DATE)
            if is_called or (not each.is_key and time_unit(each)):
                valid = "seconds or milliseconds since 1970, 2024-05-31 or 2024-05-31T12:00:00"
                remedy = f"add --time {each.name} for {valid}; write others so, or add --time none"
                self._ask("time", f"{each} may hold the times of the rows; {remedy}")

    def _ask_about_outcomes(self) -> None:
        """Ask which rows are positive if a column says how a row ended, or is called a label and constant."""
        answered = {*(self.flags.get("context") or ()), *(self.flags.get("without") or ())}
        has_label = "label" in self.columns or self.flags.get("label") is not None
        for column in self._free():
            is_constant = column.is_cut and len(column.distinct) == 1
            if column.name in answered:
                continue
            if is_constant and column.ends_with(ROLES["label"].words) and not has_label:
                self._ask_which_rows(column, "--label none")
            elif is_outcome(column):
                self._ask_which_rows(column, f"--without {shlex.quote(column.name)}")

    def _ask_which_rows(self, column: Column, otherwise: str) -> None:
        """Ask which values of a column are positive; `otherwise` is the flag if every row is."""
        if (numbers := column.numbers) is None:
            question = f"{column} says how a row ended: which values are {', '.join(EVENT_ROLES)}?"
        else:
            span = f"{column.name!r} holds {numbers.min():g} to {numbers.max():g}"
            question = f"{span}: from which value on is an item positive?"
        flags = _role_flags(column)
        self._ask(flags.split()[0][2:], f"{question} add {flags}, or {otherwise} if every row is positive")

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
        if is_outcome(column):
            return "it says how a row ended, which the next request does not know"
        is_key = column.is_key or column.ends_with({"session"})
        if is_key and not is_context(column) and not column.has_word(WORDS["code"]):
            return "its name is that of a key, which the next request does not have"
        if time_unit(column):
            return "it holds times, which are no context"
        remedy, is_flagged = (
            f"add --context {name} if a request knows it",
            not is_context(column) and is_flag(column),
        )
        if is_flagged or is_called_event(column) or column.ends_with(ROLES["label"].words):
            role = _role_flags(column)
            return f"add {role} if it says that the user wanted the item, or {remedy[4:]}"
        if self._describes_items(column):
            return "rows of an item share its value, which no request knows: put it into a file of items"
        return "" if is_context(column) else remedy

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


def _event_roles(column: Column, flags: Mapping[str, str]) -> dict[str, str]:
    """Return the flag or usual role of each event type; without purchases and flags, views are positive."""
    words = [*column.distinct, *flags]  # some may come after the sample
    roles = {word: flags.get(word) or event_role(word) for word in words}
    if "positive" not in roles.values() and not flags:
        roles |= {word: "positive" for word, role in roles.items() if role in ("train", "history")}
    return roles


def _role_flags(column: Column) -> str:
    """Return the flags that make a column the label, or the event type with the usual role of each value."""
    if column.numbers is not None and not is_called_event(column):
        return f"--label {shlex.quote(column.name)}" + " --threshold NUMBER" * (not is_binary(column))
    roles = list(_event_roles(column, {}).items())[:MAX_EVENT_TYPES]
    words = ",".join(f"{word}={role or 'ROLE'}" for word, role in roles)
    return shlex.join(["--event", column.name, "--events", words])
