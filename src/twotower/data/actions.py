"""The role, weight and event type of each interaction, and the context of its request."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.component import Component
from twotower.config.problems import ErrorCollector, listed
from twotower.config.spec import NonNegativeFloat
from twotower.data.source_column import SourceColumn

Role = Literal["positive", "negative", "history", "ignored", "train"]
ROLES: dict[str, int] = {role: code for code, role in enumerate(get_args(Role))}
POSITIVE, NEGATIVE, HISTORY, IGNORED, TRAIN = ROLES.values()
LABELS = (0.0, 1.0)
TRAIN_WEIGHT = 0.2
"""Weight of events of the role `train` that `init` and `sweep=first_look` choose."""


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


@dataclass(frozen=True, eq=False)
class Actions:
    """Role, weight and event type of each interaction [n]; None if the data has no such column."""

    roles: NDArray[np.int8] | None = None  # values of `ROLES`
    weights: NDArray[np.float32] | None = None  # an interaction of weight 0 is no example
    codes: NDArray[np.int16] | None = None  # position in `event_types`, from 1; 0 = none
    event_types: tuple[str, ...] = ()
    num_ignored: int = 0


def read_actions(
    columns: Iterable[SourceColumn | None],
    threshold: float | None,
    events: Mapping[str, Event.Config],
    errors: ErrorCollector,
) -> Actions:
    """Read `columns` of labels, weights and events by two settings; mistakes are added to `errors`.

    Events take precedence: rows of role `train`, `history` and `ignored` keep it and need no label. Other
    rows with a label below the threshold are negative.
    """
    label, weight, event = columns
    if label is None and threshold is not None:
        errors.messages.append("data.label_threshold: the interactions have no label column; set it to null")
    if event is None and events:
        errors.messages.append("data.events: the interactions have no event column; set it to {}")
    codes, event_types = _codes(event, events, errors) if event is not None else (None, ())
    roles = weights = None
    if codes is not None and events:
        chosen = [events.get(name, Event.Config()) for name in event_types]
        roles = np.array([POSITIVE, *(ROLES[each.role] for each in chosen)], dtype=np.int8)[codes]
        if any(each.weight != 1 for each in chosen):
            weights = np.array([1, *(each.weight for each in chosen)], dtype=np.float32)[codes]
    if label is not None:
        numbers = label.numbers()
        roles = np.zeros(len(numbers), dtype=np.int8) if roles is None else roles
        has_label = (roles == POSITIVE) | (roles == NEGATIVE)
        expected = "0 or 1 (for other numbers set data.label_threshold)" if threshold is None else "a number"
        is_valid = np.isin(numbers, LABELS) if threshold is None else np.isfinite(numbers)
        with errors.collect():
            label.refuse(
                has_label & ~is_valid, lambda row: f"expected {expected}, found {label.describe(row)}"
            )
        roles[has_label & ~(numbers >= (1 if threshold is None else threshold))] = NEGATIVE
    if weight is not None:
        numbers = weight.numbers()
        used = np.ones(len(numbers), dtype=np.bool_) if roles is None else roles != IGNORED
        wrong = used & ~((numbers >= 0) & (numbers <= np.finfo(np.float32).max))
        with errors.collect():
            weight.refuse(wrong, lambda row: f"expected a number, 0 or more, found {weight.describe(row)}")
        column = np.where(used & ~wrong, numbers, 0).astype(np.float32)
        weights = column if weights is None else column * weights
    if roles is not None and not (roles == POSITIVE).any() and not errors.messages:
        remedy = "correct data.label_threshold or data.events"
        errors.messages.append(f"data: no interaction is positive; {remedy}")
    return Actions(roles if roles is not None and roles.any() else None, weights, codes, event_types)


def _codes(
    event: SourceColumn, events: Mapping[str, Event.Config], errors: ErrorCollector
) -> tuple[NDArray[np.int16] | None, tuple[str, ...]]:
    """Return the code of each row's event type, and the event types."""
    text = event.values.astype("str").where(event.values.notna())
    missing = event.values.isna().to_numpy()
    with errors.collect():
        event.refuse(missing, lambda _: "expected an event type, found nothing; fill in every row")
    event_types = tuple(sorted(text.dropna().unique()))
    if events:
        remedy = f"is not in data.events ({listed(sorted(events))}); give it a role there"
        with errors.collect():
            wrong = ~text.isin(list(events)).to_numpy() & ~missing
            event.refuse(wrong, lambda row: f"{event.describe(row)} {remedy}")
    largest = np.iinfo(np.int16).max
    if len(event_types) > largest:
        errors.messages.append(
            f"{event.source_path}: column {event.name!r} has {len(event_types):,} event types; "
            f"at most {largest:,} are possible: is it the right column?"
        )
        return None, ()
    codes = pd.Categorical(text, categories=list(event_types)).codes + 1
    return np.asarray(codes, dtype=np.int16), event_types


def distinct_contexts(
    interactions: pd.DataFrame, columns: list[str]
) -> tuple[pd.DataFrame, NDArray[np.int32]] | None:
    """Return the distinct contexts in order of first occurrence, None without context columns.

    Also the position of each interaction's context, from 1, int32 [n].
    """
    if not columns:
        return None
    frame = interactions[columns].reset_index(drop=True)
    try:
        numbers = frame.groupby(columns, dropna=False, sort=False).ngroup().to_numpy()
    except TypeError:  # lists cannot be hashed
        numbers = np.arange(len(frame))
    _, first = np.unique(numbers, return_index=True)
    return frame.iloc[first].reset_index(drop=True), (numbers + 1).astype(np.int32)
