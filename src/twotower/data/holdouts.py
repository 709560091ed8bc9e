"""From the parts of a split to what is asked and what is known."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout, Labelled
from twotower.data.history import History, Log
from twotower.data.splits import split as part
from twotower.data.splits.split import Parts, Split, is_in


@dataclass(frozen=True, eq=False)
class Window(Holdout):
    """A holdout, and what the audit wants to know of it.

    Args:
        target_times: int64 [T] of the kept targets.
        num_repeats: targets dropped because the user had the item before: as a target of this window or,
            unless repeats are kept, in the history.
    """

    target_times: NDArray[np.int64] = field(kw_only=True)
    num_repeats: int = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Windows:
    """A log cut by a split; `parts` is int8 [n], `whole` all that users did, in whatever part."""

    parts: Parts
    train: History
    train_and_valid: History
    valid: Window
    test: Window
    whole: History


def windows_of(log: Log, split: Split, repeats: bool = False) -> Windows:
    """Cut a log.

    Args:
        log: all interactions.
        split: the choice.
        repeats: whether items that a user has are targets too.

    Raises:
        InputError: train, valid or test holds nothing, or every target repeats an item the user had before.
    """
    parts = split.parts(log)
    unseen_by_valid = (*part.TEST_TARGETS, part.TEST_HISTORY)
    return Windows(
        parts=parts,
        train=log.only(is_in(parts, part.TRAIN_PARTS)),
        train_and_valid=log.only(is_in(parts, part.TRAIN_AND_VALID_PARTS)),
        valid=_window(log, parts, split, part.VALID_TARGETS, part.KNOWN_TO_VALID, unseen_by_valid, repeats),
        test=_window(log, parts, split, part.TEST_TARGETS, part.KNOWN_TO_TEST, (), repeats),
        whole=log.only(~log.is_shown),
    )


def _window(
    log: Log,
    parts: Parts,
    split: Split,
    targets: Collection[int],
    known: Collection[int],
    later: Collection[int],
    repeats: bool,
) -> Window:
    """Build a window of targets, of what may be history, and of what it must not know of even as a repeat."""
    in_window = is_in(parts, targets)
    is_target = in_window & log.is_positive
    counted = is_target if repeats else ~is_in(parts, later) & log.is_positive
    kept = is_target & _first_of_pair(log, counted)
    if not kept.any():
        raise InputError(
            f"split={split.name}: all {int(is_target.sum()):,} targets of a window repeat an item their user "
            "had before, so nothing new is left to recommend; use another split or other data, or set "
            "data.repeats=keep"
        )
    users, starts = np.unique(log.users[kept], return_index=True)
    return Window(
        users=users.astype(np.int32),
        target_offsets=np.append(starts, kept.sum()).astype(np.int64),
        target_items=log.items[kept],
        request_times=split.request_times(log.positives, is_target[log.is_positive])[users],
        history=log.only(is_in(parts, known) & _before_targets(log, is_target)),
        target_times=log.times[kept],
        num_repeats=int(is_target.sum() - kept.sum()),
        repeats=repeats,
        context=None if log.context is None else log.context[kept][starts],
        labelled=_labelled(log, in_window & (log.is_positive | log.is_shown)),
    )


def _labelled(log: Log, mask: NDArray[np.bool_]) -> Labelled | None:
    """Return what a window's users were shown, None unless some of it was wanted and some was not."""
    labels = log.is_positive[mask]
    if labels.all() or not labels.any():
        return None
    weights, context = (None if each is None else each[mask] for each in (log.weights, log.context))
    return Labelled(log.users[mask], log.items[mask], labels, log.times[mask], weights, context)


def _first_of_pair(log: Log, considered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the considered interactions are their user's first with that item, [n]."""
    positions = np.flatnonzero(considered)
    keys = log.users[positions].astype(np.int64) * (log.num_items + 1) + log.items[positions]
    first = np.zeros(len(log), dtype=np.bool_)
    first[positions[np.unique(keys, return_index=True)[1]]] = True
    return first


def _before_targets(log: Log, is_target: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which interactions precede the first target of their user, or have none to precede, [n]."""
    users, first = np.unique(log.users[is_target], return_index=True)
    limits = np.full(log.num_users + 1, len(log), dtype=np.int64)
    limits[users] = np.flatnonzero(is_target)[first]
    before: NDArray[np.bool_] = np.arange(len(log)) < limits[log.users]
    return before
