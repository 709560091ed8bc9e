"""What each interaction was: liked, shown in vain, or only part of a history; and how much it counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.component import Component
from twotower.config.problems import Gathered, listed
from twotower.config.spec import NonNegativeFloat
from twotower.data.column import Column

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
    """What a word of the event column stands for."""

    class Config(Component.Config):
        """What a word means: `click: {role: positive, weight: 2}`."""

        role: Role = "positive"
        """`positive` (an example and a target), `train` (an example and part of histories, never a target),
        `history` (part of histories only), `negative` (shown in vain: it may train, and nothing else) or
        `ignored`."""
        weight: NonNegativeFloat = 1.0
        """Of its examples."""


@dataclass(frozen=True)
class Meaning:
    """How labels and events are read.

    Attributes:
        label_threshold: a label of at least this is positive; None: labels are 0 or 1.
        events: word -> what it stands for; empty: every event is positive.
    """

    label_threshold: float | None = None
    events: Mapping[str, Event.Config] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Actions:
    """What the rows of a log were; None where a log does not say.

    Attributes:
        roles: int8 [n], of `ROLES`.
        weights: float32 [n], 0 or more; 0 makes no example.
        codes: int16 [n], of the word of the event: its position in `words`, from 1; 0 = none.
        words: that occur.
        num_ignored: rows that were left out.
    """

    roles: NDArray[np.int8] | None = None
    weights: NDArray[np.float32] | None = None
    codes: NDArray[np.int16] | None = None
    words: tuple[str, ...] = ()
    num_ignored: int = 0


def actions_of(
    label: Column | None, weight: Column | None, event: Column | None, meaning: Meaning, told: Gathered
) -> Actions:
    """Read what rows were; what cannot be read is told.

    The word of an event comes first: `train`, `history` and `ignored` keep their role whatever the label, and
    may lack one.
    A label below the threshold makes a negative of what is else positive.
    """
    if label is None and meaning.label_threshold is not None:
        told.messages.append("data.label_threshold: these interactions have no label; set it to null")
    if event is None and meaning.events:
        told.messages.append("data.events: these interactions have no event; set it to {}")
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
        said = "no interaction is positive, so nothing can be learned; look at label_threshold and events"
        told.messages.append(f"data: {said}")
    return Actions(roles if roles is not None and roles.any() else None, weights, codes, words)


def _codes(
    event: Column, meaning: Meaning, told: Gathered
) -> tuple[NDArray[np.int16] | None, tuple[str, ...]]:
    text = event.values.astype("str").where(event.values.notna())
    absent = event.values.isna().to_numpy()
    with told.refusals():
        event.refuse(absent, lambda _: "expected a word, found nothing; name the event of every row")
    words = tuple(sorted(text.dropna().unique()))
    if meaning.events:
        with told.refusals():
            wrong = ~text.isin(list(meaning.events)).to_numpy() & ~absent
            table = f"is not in data.events ({listed(sorted(meaning.events))}); give each word a role there"
            event.refuse(wrong, lambda row: f"{event.found(row)} {table}")
    if len(words) > np.iinfo(np.int16).max:
        told.messages.append(
            f"{event.source_path}: column {event.name!r} has {len(words):,} different words; events are few"
        )
        return None, ()
    return np.asarray(pd.Categorical(text, categories=list(words)).codes + 1, dtype=np.int16), words


def _labelled(
    label: Column, roles: NDArray[np.int8] | None, threshold: float | None, told: Gathered
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


def _weights(weight: Column, roles: NDArray[np.int8] | None, told: Gathered) -> NDArray[np.float32]:
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
    """The distinct contexts of a log: `table`, and for each row its position there from 1, int32 [n]."""

    table: pd.DataFrame
    rows: NDArray[np.int32]


def contexts_of(interactions: pd.DataFrame, columns: list[str]) -> Contexts | None:
    """Return the contexts in the order in which they occur, None where no column describes the request."""
    if not columns:
        return None
    frame = interactions[columns].reset_index(drop=True)
    try:
        numbers = frame.groupby(columns, dropna=False, sort=False).ngroup().to_numpy()
    except TypeError:  # lists, which are never found equal
        numbers = np.arange(len(frame))
    _, first = np.unique(numbers, return_index=True)
    return Contexts(frame.iloc[first].reset_index(drop=True), (numbers + 1).astype(np.int32))
