"""The kinds of live changes, and how they are applied to a retriever."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever

LOG = logging.getLogger("twotower")
REPLAY_BATCH = 256
"""Largest number of items or profiles that `replay` embeds in one pass."""


@dataclass(frozen=True)
class ItemPut:
    """Offer a new or changed item; `features` maps a column to its raw value, as in JSON."""

    item_id: ItemId
    features: Mapping[str, Any]


@dataclass(frozen=True)
class ItemRemoved:
    """Stop offering an item."""

    item_id: ItemId


@dataclass(frozen=True)
class UserPut:
    """Replace the profile of a user; `features` maps a column to its raw value, as in JSON."""

    user_id: UserId
    features: Mapping[str, Any]


@dataclass(frozen=True)
class UserForgotten:
    """Delete the stored profile of a user, so that the one of the bundle applies."""

    user_id: UserId


@dataclass(frozen=True)
class EventAdded:
    """Add an interaction of a user with an item at unix seconds `time`; `event` is its type, if any."""

    user_id: UserId
    item_id: ItemId
    time: int
    event: str | None = None


Change = ItemPut | ItemRemoved | EventAdded | UserPut | UserForgotten


@dataclass(frozen=True)
class Quarantined:
    """A stored change that the current bundle cannot apply, and the reason."""

    change: Change
    reason: str


def replay(changes: Iterable[Change], retriever: Retriever) -> list[Quarantined]:
    """Apply stored changes; return those that fail.

    Applying a change twice has no further effect. Consecutive items, or profiles, are embedded together.
    An error of any kind quarantines its change only, because another bundle or version accepted it.
    """
    quarantined: list[Quarantined] = []
    for kind, same in itertools.groupby(changes, type):
        while batch := list(itertools.islice(same, REPLAY_BATCH)):
            if kind not in (ItemPut, UserPut) or not _apply_together(batch, retriever):
                quarantined += [failed for change in batch for failed in _apply(change, retriever)]
    return quarantined


def prepare_puts(puts: Sequence[Any], retriever: Retriever) -> Callable[[], object]:
    """Check and embed items, or profiles, with different ids; return the function that applies them."""
    if isinstance(puts[0], ItemPut):
        items = retriever.prepare_items([(each.item_id, each.features) for each in puts])
        return partial(retriever.apply_items, items)
    users = retriever.profiles.prepare([(each.user_id, each.features) for each in puts])
    return partial(retriever.profiles.put, users)


def _apply_together(puts: Sequence[Any], retriever: Retriever) -> bool:
    try:
        prepare_puts(puts, retriever)()
    except Exception:  # which of them is wrong is unknown
        return False
    return True


def _apply(change: Change, retriever: Retriever) -> list[Quarantined]:
    try:
        match change:
            case ItemPut() | UserPut():
                prepare_puts([change], retriever)()
            case ItemRemoved():
                with contextlib.suppress(UnknownItem):
                    retriever.remove_item(change.item_id)
            case UserForgotten():
                with contextlib.suppress(UnknownUser):
                    retriever.forget_user(change.user_id)
            case EventAdded():
                retriever.add_event(change.user_id, change.item_id, change.time, change.event)
    except Exception as error:
        is_input_error = isinstance(error, InputError)
        LOG.debug("quarantined: %s", change, exc_info=not is_input_error)
        return [Quarantined(change, str(error) if is_input_error else f"{type(error).__name__}: {error}")]
    return []
