"""The role, weight and event type of each interaction, and the context of its request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.component import Component
from twotower.config.problems import Gathered, listed
from twotower.config.spec import NonNegativeFloat
from twotower.data.source_column import SourceColumn

Role = Literal["positive", "train", "negative", "history", "ignored"]
POSITIVE, NEGATIVE, HISTORY, IGNORED, TRAIN = range(5)
ROLES: dict[Role, int] = {
    "positive": POSITIVE,
    "train": TRAIN,
    "negative": NEGATIVE,
    "history": HISTORY,
    "ignored": IGNORED,
}
LABELS = (0.0, 1.0)


class Event(Component):
    """The role and weight of an event type."""

    class Config(Component.Config):
        """Settings of an event type, as in `click: {role: positive, weight: 2}`."""

        role: Role = "positive"
        """`positive` (an example and a target), `train` (an example and part of histories, never a target),
        `history` (part of histories only), `negative` (an impression without a click: it can only train) or
        `ignored` (dropped)."""
        weight: NonNegativeFloat = 1.0
        """Weight of its examples."""


@dataclass(frozen=True)
class ActionSettings:
    """How labels and events are read.

    Attributes:
        label_threshold: labels from this value on are positive; None: labels are 0 or 1.
        events: event type -> its role and weight; empty: every event is positive.
    """

    label_threshold: float | None = None
    events: Mapping[str, Event.Config] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Actions:
    """Role, weight and event type of the rows of the interactions; None if the data has no such column.

    Attributes:
        roles: int8 [n], values of `ROLES`.
        weights: float32 [n], 0 or more; a row of weight 0 is no example.
        codes: int16 [n], position of the event type in `event_types`, from 1; 0 = none.
        event_types: the event types that occur.
        num_ignored: number of dropped rows.
    """

    roles: NDArray[np.int8] | None = None
    weights: NDArray[np.float32] | None = None
    codes: NDArray[np.int16] | None = None
    event_types: tuple[str, ...] = ()
    num_ignored: int = 0


def read_actions(
    label: SourceColumn | None,
    weight: SourceColumn | None,
    event: SourceColumn | None,
    meaning: ActionSettings,
    told: Gathered,
) -> Actions:
    """Read labels, weights and events; mistakes are added to `told`.

    Events take precedence: rows of role `train`, `history` and `ignored` keep it and need no label. Other
    rows with a label below the threshold are negative.
    """
    if label is None and meaning.label_threshold is not None:
        told.messages.append("data.label_threshold: the interactions have no label column; set it to null")
    if event is None and meaning.events:
        told.messages.append("data.events: the interactions have no event column; set it to {}")
    codes, words = _codes(event, meaning, told) if event is not None else (None, ())
    roles = weights = None
    if codes is not None and meaning.events:
        known = [meaning.events.get(word, Event.Config()) for word in words]
        roles = np.array([POSITIVE, *(ROLES[each.role] for each in known)], dtype=np.int8)[codes]
        if any(each.weight != 1 for each in known):
            weights = np.array([1, *(each.weight for each in known)], dtype=np.float32)[codes]
    if label is not None:
        roles = _labelled(label, roles, meaning.label_threshold, told)
    if weight is not None:
        own = _weights(weight, roles, told)
        weights = own if weights is None else own * weights
    if roles is not None and not (roles == POSITIVE).any() and not told.messages:
        said = "no interaction is positive; correct data.label_threshold or data.events"
        told.messages.append(f"data: {said}")
    return Actions(roles if roles is not None and roles.any() else None, weights, codes, words)


def _codes(
    event: SourceColumn, meaning: ActionSettings, told: Gathered
) -> tuple[NDArray[np.int16] | None, tuple[str, ...]]:
    text = event.values.astype("str").where(event.values.notna())
    absent = event.values.isna().to_numpy()
    with told.refusals():
        event.refuse(absent, lambda _: "expected an event type, found nothing; fill in every row")
    words = tuple(sorted(text.dropna().unique()))
    if meaning.events:
        with told.refusals():
            wrong = ~text.isin(list(meaning.events)).to_numpy() & ~absent
            table = (
                f"is not in data.events ({listed(sorted(meaning.events))}); give each event type a role there"
            )
            event.refuse(wrong, lambda row: f"{event.found(row)} {table}")
    if len(words) > np.iinfo(np.int16).max:
        told.messages.append(
            f"{event.source_path}: column {event.name!r} has {len(words):,} event types; "
            f"at most {np.iinfo(np.int16).max:,} are possible: is it the right column?"
        )
        return None, ()
    return np.asarray(pd.Categorical(text, categories=list(words)).codes + 1, dtype=np.int16), words


def _labelled(
    label: SourceColumn, roles: NDArray[np.int8] | None, threshold: float | None, told: Gathered
) -> NDArray[np.int8]:
    numbers = _numbers(label.values)
    roles = np.zeros(len(numbers), dtype=np.int8) if roles is None else roles.copy()
    asked = (roles == POSITIVE) | (roles == NEGATIVE)
    expected = "0 or 1 (for other numbers set data.label_threshold)" if threshold is None else "a number"
    fits = np.isin(numbers, LABELS) if threshold is None else np.isfinite(numbers)
    with told.refusals():
        label.refuse(asked & ~fits, lambda row: f"expected {expected}, found {label.found(row)}")
    liked = numbers >= (1 if threshold is None else threshold)
    roles[asked & ~liked] = NEGATIVE
    return roles


def _weights(weight: SourceColumn, roles: NDArray[np.int8] | None, told: Gathered) -> NDArray[np.float32]:
    numbers = _numbers(weight.values)
    used = np.ones(len(numbers), dtype=np.bool_) if roles is None else roles != IGNORED
    wrong = used & ~((numbers >= 0) & (numbers <= np.finfo(np.float32).max))
    with told.refusals():
        weight.refuse(wrong, lambda row: f"expected a number, 0 or more, found {weight.found(row)}")
    return np.where(used & ~wrong, numbers, 0).astype(np.float32)


def _numbers(values: "pd.Series[Any]") -> NDArray[np.float64]:
    found: NDArray[np.float64] = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return found


@dataclass(frozen=True, eq=False)
class Contexts:
    """The distinct contexts (`table`) and each interaction's position in them from 1 (`rows`, int32 [n])."""

    table: pd.DataFrame
    rows: NDArray[np.int32]


def distinct_contexts(interactions: pd.DataFrame, columns: list[str]) -> Contexts | None:
    """Return the distinct contexts in order of first occurrence, None without context columns."""
    if not columns:
        return None
    frame = interactions[columns].reset_index(drop=True)
    try:
        numbers = frame.groupby(columns, dropna=False, sort=False).ngroup().to_numpy()
    except TypeError:  # lists cannot be hashed
        numbers = np.arange(len(frame))
    _, first = np.unique(numbers, return_index=True)
    return Contexts(frame.iloc[first].reset_index(drop=True), (numbers + 1).astype(np.int32))
