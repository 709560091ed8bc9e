"""From the parts of a split to what is asked and what is known."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.blocks import MEMORY, Room, blocks, blocks_of_users
from twotower.data.dataset import Holdout, Labelled
from twotower.data.interactions import Interactions
from twotower.data.log import Log
from twotower.data.splits import split as part
from twotower.data.splits.split import Parts, Split, is_in

HASH, HASH_BITS = -7046029254386353131, 22  # 2**64 / golden ratio: its upper bits are well mixed


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
    train: Interactions
    train_and_valid: Interactions
    valid: Window
    test: Window
    whole: Interactions


@dataclass(frozen=True, eq=False)
class _Kept:
    """Which interactions a history keeps: those of some parts, until the first target of their user."""

    log: Log
    parts: Parts
    codes: Collection[int]
    limits: NDArray[np.int64] | None = None

    def __call__(self, rows: slice) -> NDArray[np.bool_]:
        kept = is_in(self.parts[rows], self.codes)
        if self.limits is not None:
            kept &= np.arange(rows.start, rows.stop) < self.limits[self.log.users[rows]]
        return kept

    def is_as(self, other: "_Kept") -> bool:
        log = self.log
        return all(np.array_equal(self(rows), other(rows)) for rows in blocks(len(log), log.users))


def windows_of(log: Log, split: Split, repeats: bool = False, room: Room = MEMORY) -> Windows:
    """Cut a log.

    Args:
        log: all interactions.
        split: the choice.
        repeats: whether items that a user has are targets too.
        room: where histories are made.

    Raises:
        InputError: train, valid or test holds nothing, or every target repeats an item the user had before.
    """
    parts = split.parts(log)
    unseen_by_valid = (*part.TEST_TARGETS, part.TEST_HISTORY)
    valid = _targets_of(log, parts, split, part.VALID_TARGETS, unseen_by_valid, repeats)
    test = _targets_of(log, parts, split, part.TEST_TARGETS, (), repeats)
    keeps = {
        "train": _Kept(log, parts, part.TRAIN_PARTS),
        "train_and_valid": _Kept(log, parts, part.TRAIN_AND_VALID_PARTS),
        "valid": _Kept(log, parts, part.KNOWN_TO_VALID, valid.limits),
        "test": _Kept(log, parts, part.KNOWN_TO_TEST, test.limits),
    }
    histories: dict[str, Interactions] = {}
    for name, keep in keeps.items():
        twin = next((other for other in histories if keep.is_as(keeps[other])), None)
        histories[name] = histories[twin] if twin else log.only(keep, room, f"history_{name}")
    return Windows(
        parts=parts,
        train=histories["train"],
        train_and_valid=histories["train_and_valid"],
        valid=valid.window(histories["valid"], log.num_users, repeats),
        test=test.window(histories["test"], log.num_users, repeats),
        whole=log.everything() if log.roles is None else log.only(lambda rows: ~log.is_shown[rows]),
    )


@dataclass(frozen=True, eq=False)
class _Targets:
    """What a window asks for.

    `columns` are those of the kept targets [T], "users" and so on; `limits` int64 [num_users + 1] is where
    each user row's first target stands in the log, kept or not, its length for users without; `request_times`
    is by user row.
    """

    columns: dict[str, NDArray[Any]]
    number: int
    limits: NDArray[np.int64]
    request_times: NDArray[np.int64]
    labelled: Labelled | None

    def window(self, history: Interactions, num_users: int, repeats: bool) -> Window:
        columns = self.columns
        users, starts = np.unique(columns["users"], return_index=True)
        return Window(
            users=users.astype(np.int32),
            target_offsets=np.append(starts, len(columns["users"])).astype(np.int64),
            target_items=columns["items"],
            request_times=self.request_times[users],
            history=history,
            target_times=columns["times"],
            num_repeats=self.number - len(columns["users"]),
            repeats=repeats,
            context=columns["context"][starts] if "context" in columns else None,
            labelled=self.labelled,
        )


def _targets_of(
    log: Log, parts: Parts, split: Split, targets: Collection[int], later: Collection[int], repeats: bool
) -> _Targets:
    """Find the targets of a window, and of what it must not know even as a repeat."""
    is_target = np.zeros(len(log), dtype=np.bool_)
    limits = np.full(log.num_users + 1, len(log), dtype=np.int64)
    kept: list[dict[str, NDArray[Any]]] = []
    long = log.users, log.items, log.times
    for rows in blocks_of_users(log.offsets, *long, what="data: finding targets"):
        some, codes = log.at(rows), parts[rows]
        wanted = is_in(codes, targets) & some.is_positive
        if not wanted.any():
            continue
        is_target[rows] = wanted
        users, first = np.unique(some.users[wanted], return_index=True)
        limits[users] = rows.start + np.flatnonzero(wanted)[first]
        counted = wanted if repeats else ~is_in(codes, later) & some.is_positive
        new = wanted & _first_of_pair(some, counted, wanted)
        columns = {name: getattr(some, name) for name in ("users", "items", "times", "context")}
        kept.append({name: column[new] for name, column in columns.items() if column is not None})
    number = int(is_target.sum())
    if not any(len(columns["users"]) for columns in kept):
        raise InputError(
            f"split={split.name}: all {number:,} targets of a window repeat an item their user "
            "had before, so nothing new is left to recommend; use another split or other data, or set "
            "data.repeats=keep"
        )
    return _Targets(
        {name: np.concatenate([columns[name] for columns in kept]) for name in kept[0]},
        number,
        limits,
        split.request_times(log.positives, is_target if log.roles is None else is_target[log.is_positive]),
        _labelled(log, is_in(parts, targets)) if log.roles is not None else None,
    )


def _labelled(log: Log, in_window: NDArray[np.bool_]) -> Labelled | None:
    """Return what a window's users were shown, None unless some of it was wanted and some was not."""
    mask = in_window & (log.is_positive | log.is_shown)
    labels = log.is_positive[mask]
    if labels.all() or not labels.any():
        return None
    weights, context = (None if each is None else each[mask] for each in (log.weights, log.context))
    return Labelled(log.users[mask], log.items[mask], labels, log.times[mask], weights, context)


def _first_of_pair(log: Log, considered: NDArray[np.bool_], asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the considered interactions are their user's first with that item, [n].

    Those of pairs that are never `asked` for may be left out. A table of hashes finds most of them, so that
    little is sorted: a split by the last interaction asks for one pair of a user.
    """
    keys = log.users.astype(np.int64) * (log.num_items + 1) + log.items
    hashes = (keys * HASH).view(np.uint64) >> np.uint64(64 - HASH_BITS)
    table = np.zeros(2**HASH_BITS, dtype=np.bool_)
    table[hashes[asked]] = True
    positions = np.flatnonzero(considered & table[hashes])
    first = np.zeros(len(log), dtype=np.bool_)
    first[positions[np.unique(keys[positions], return_index=True)[1]]] = True
    return first
