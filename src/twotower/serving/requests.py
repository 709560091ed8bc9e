"""What callers may ask: checked, and turned into what the towers take."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.data.check_tables import EARLIEST, LATEST
from twotower.data.ids import MAX_LENGTH
from twotower.data.vocabulary import Vocabulary
from twotower.errors import InputError
from twotower.features.feature import ContextFeature
from twotower.features.feature_table import FeatureTable
from twotower.serving.live_items import LiveItems, Rows, as_id, as_label, rows_of
from twotower.serving.recommendation import ItemId, UserId


def checked_k(k: int) -> int:
    """Return k, refusing what is no positive whole number."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k: expected a whole number of items, 1 or more, got {k!r}")
    return int(k)


def checked_time(time: Any, default: int) -> int:
    """Return a request time in unix seconds, the default for None."""
    if time is None:
        return default
    if isinstance(time, bool) or not isinstance(time, int | np.integer) or not EARLIEST <= time < LATEST:
        raise InputError(
            f"request_time: expected whole unix seconds between 1970-01-02 and 2100, got {time!r}"
        )
    return int(time)


def checked_times(times: Sequence[Any] | None, num_items: int, request_time: int) -> list[int]:
    """Return the times of a history, oldest first; without any, all are the request's."""
    if times is None:
        return [request_time] * num_items
    found = [checked_time(time, 0) for time in times]
    if len(found) != num_items or 0 in found:
        raise InputError(
            f"history_times: expected {num_items} times, one for each item of history, got {len(found)}"
        )
    if found != sorted(found):
        raise InputError("history_times: expected the oldest first; order history and history_times by time")
    return found


def listed(ids: Iterable[Any], name: str) -> list[Any]:
    """Return ids as a list, refusing a single text, which would be read letter by letter."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InputError(f"{name}: expected a list of item ids, got {ids!r:.80}; write [{ids!r:.80}]")
    return list(ids)


def known_user(users: Vocabulary, user_id: UserId) -> int:
    """Return the row of a known user.

    Raises:
        InputError: nobody has this id.
    """
    row = int(rows_of(users, [user_id])[0])
    if row == 0:
        raise InputError(
            f"user {user_id!r:.80} is not among the {len(users):,} users of this bundle; "
            "use recommend_new with the user's features and history"
        )
    return row


def known_rows(items: LiveItems, ids: Iterable[Any], name: str, live: bool) -> Rows:
    """Return the rows of ids in the order given.

    Args:
        items: the catalogue.
        ids: of items.
        name: of the argument, for the message.
        live: the items must still be offered.

    Raises:
        InputError: an id was never an item, or is no longer one where it must be.
    """
    given = listed(ids, name)
    rows = items.rows(given)
    wrong = ~items.live(rows) if live else rows == 0
    if wrong.any():
        position = int(wrong.argmax())
        value = given[position]
        if rows[position]:
            problem = "was removed from the catalogue"
        elif as_id(value, items.is_text) is None:
            kind = "text" if items.is_text else "whole numbers"
            problem = f"is {type(value).__name__}, but item ids of this catalogue are {kind}"
        else:
            problem = f"is not in the catalogue of {items.num_live:,} items"
        raise InputError(f"{name}: item {value!r:.80} {problem}; leave it out, or add it with add_item")
    return rows


def checked_new_id(items: LiveItems, item_id: Any) -> ItemId:
    """Return the id of an item to add.

    Raises:
        InputError: it is of another kind than the catalogue's ids, or offered already.
    """
    key = as_id(item_id, items.is_text)
    if items.is_text:
        sound = isinstance(key, str) and 0 < len(key) <= MAX_LENGTH and "\0" not in key
        kind = f"text of 1 to {MAX_LENGTH} characters"
    else:
        sound = isinstance(key, int)
        kind = "whole numbers of 64 bits"
    if key is None or not sound:
        raise InputError(f"add_item: item ids of this catalogue are {kind}, got {item_id!r:.80}")
    if items.live(items.rows([key]))[0]:
        raise InputError(
            f"add_item: item {key!r} is already in the catalogue; remove it first, or choose another id"
        )
    return key


def checked_features(
    table: FeatureTable, features: Mapping[str, Any], key: str, label: str | None = None
) -> dict[str, Any]:
    """Return raw feature values by column; those left out or None count as missing.

    Args:
        table: whose features a new entity may give.
        features: column -> raw value.
        key: the id column, which is never given: a new entity has the unknown id.
        label: a column that may be given though no feature reads it.

    Raises:
        InputError: a column is unknown, or a value is not what its feature expects.
    """
    known = table.columns - {key}
    for column in features:
        if column not in known and column != label:
            near = ", ".join(difflib.get_close_matches(str(column), known, n=3))
            hint = f"did you mean {near}? " if near else ""
            there = ", ".join(sorted(known)) or "none"
            raise InputError(f"features: {column!r} is no feature of this model; {hint}there is {there}")
    given = {column: value for column, value in features.items() if as_label(value) is not None}
    for feature in table.features.values():
        if feature.column in given and not isinstance(feature, ContextFeature):
            feature.check(pd.Series([given[feature.column]], dtype=object), "features")
    return given


def right_aligned(values: Sequence[int] | Rows, length: int) -> Tensor:
    """Return the last values of a history as [1, L], 0 = padding on the left."""
    row = np.zeros((1, length), dtype=np.int64)
    latest = np.asarray(values, dtype=np.int64)[-length:]
    row[0, length - len(latest) :] = latest
    return torch.from_numpy(row)
