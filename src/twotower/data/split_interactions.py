"""From the parts that a split assigns to histories and holdouts."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.blocks import MEMORY, Room, blocks, blocks_of_users
from twotower.data.dataset import Holdout, Labelled
from twotower.data.interactions import Interactions
from twotower.data.splits import split as part
from twotower.data.splits.split import Parts, Split, is_in

HASH, HASH_BITS = -7046029254386353131, 22  # 2**64 / golden ratio: its upper bits are well mixed


@dataclass(frozen=True, eq=False)
class AuditedHoldout(Holdout):
    """A holdout with figures for the audit.

    Args:
        target_times: int64 [T] of the kept targets.
        num_repeats: targets dropped because the user had the item before: as a target of the same holdout or,
            unless repeats are kept, in the history.
    """

    target_times: NDArray[np.int64] = field(kw_only=True)
    num_repeats: int = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class SplitInteractions:
    """Interactions cut by a split.

    Args:
        parts: int8 [n], the part of each interaction.
        train: the training interactions.
        train_and_valid: the training interactions of the final fit.
        valid: targets of the validation holdout.
        test: targets of the test holdout.
        whole: all interactions but impressions without a click, whatever their part.
    """

    parts: Parts
    train: Interactions
    train_and_valid: Interactions
    valid: AuditedHoldout
    test: AuditedHoldout
    whole: Interactions


def split_interactions(
    interactions: Interactions, split: Split, repeats: bool = False, room: Room = MEMORY
) -> SplitInteractions:
    """Cut interactions into training interactions and holdouts; equal histories are one object.

    Args:
        interactions: all interactions.
        split: assigns the parts.
        repeats: whether items that a user has are targets too.
        room: where the histories are allocated.

    Raises:
        InputError: train, valid or test is empty, or every target repeats an item of its user's history.
    """
    parts = split.parts(interactions)
    unseen_by_valid = (*part.TEST_TARGETS, part.TEST_HISTORY)
    valid = _targets(interactions, parts, split, part.VALID_TARGETS, unseen_by_valid, repeats)
    test = _targets(interactions, parts, split, part.TEST_TARGETS, (), repeats)

    def selection(codes: Collection[int], targets: _Targets | None) -> Callable[[slice], NDArray[np.bool_]]:
        """Select parts; with targets only the interactions before the first target of their user."""

        def keep(rows: slice) -> NDArray[np.bool_]:
            kept = is_in(parts[rows], codes)
            if targets is not None:
                kept &= np.arange(rows.start, rows.stop) < targets.limits[interactions.user_rows(rows)]
            return kept

        return keep

    selections = {
        "train": selection(part.TRAIN_PARTS, None),
        "train_and_valid": selection(part.TRAIN_AND_VALID_PARTS, None),
        "valid": selection(part.KNOWN_TO_VALID, valid),
        "test": selection(part.KNOWN_TO_TEST, test),
    }
    histories: dict[str, Interactions] = {}
    for name, keep in selections.items():
        for twin in histories:
            other = selections[twin]
            if all(np.array_equal(keep(rows), other(rows)) for rows in blocks(len(interactions))):
                histories[name] = histories[twin]
                break
        else:
            histories[name] = interactions.select(keep, room, f"history_{name}")
    whole = interactions
    if interactions.roles is not None:
        whole = interactions.select(lambda rows: ~interactions.is_impression[rows])
    return SplitInteractions(
        parts=parts,
        train=histories["train"],
        train_and_valid=histories["train_and_valid"],
        valid=valid.holdout(histories["valid"], repeats),
        test=test.holdout(histories["test"], repeats),
        whole=whole,
    )


@dataclass(frozen=True, eq=False)
class _Targets:
    """The targets of a holdout.

    Args:
        columns: "users", "items", "times" and perhaps "context" of the kept targets [T].
        number: targets before repeats are dropped.
        limits: int64 [num_users + 1], position of each user row's first target, kept or not; the number of
            interactions for users without targets.
        request_times: int64 [num_users + 1].
        labelled: the labelled examples of the holdout, None if it has only positives or only negatives.
    """

    columns: dict[str, NDArray[Any]]
    number: int
    limits: NDArray[np.int64]
    request_times: NDArray[np.int64]
    labelled: Labelled | None

    def holdout(self, history: Interactions, repeats: bool) -> AuditedHoldout:
        columns = self.columns
        users, starts = np.unique(columns["users"], return_index=True)
        return AuditedHoldout(
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


def _targets(
    interactions: Interactions,
    parts: Parts,
    split: Split,
    targets: Collection[int],
    later: Collection[int],
    repeats: bool,
) -> _Targets:
    """Return the targets of a holdout.

    Args:
        interactions: all interactions.
        parts: of them.
        split: the split that assigned the parts.
        targets: parts that are targets.
        later: parts that are unknown to the holdout, so that their items are not repeats.
        repeats: whether items that a user has are targets too.
    """
    is_target = np.zeros(len(interactions), dtype=np.bool_)
    limits = np.full(interactions.num_users + 1, len(interactions), dtype=np.int64)
    kept: list[dict[str, NDArray[Any]]] = []
    columns = {name: getattr(interactions, name) for name in ("items", "times", "context")}
    columns = {name: column for name, column in columns.items() if column is not None}
    for rows in blocks_of_users(interactions.offsets, *columns.values(), what="data: finding targets"):
        is_positive = True if interactions.roles is None else interactions.is_positive[rows]
        wanted = is_in(parts[rows], targets) & is_positive
        if not wanted.any():
            continue
        is_target[rows] = wanted
        users = interactions.user_rows(rows)
        users_with_target, first = np.unique(users[wanted], return_index=True)
        limits[users_with_target] = rows.start + np.flatnonzero(wanted)[first]
        counted = wanted if repeats else ~is_in(parts[rows], later) & is_positive
        keys = users.astype(np.int64) * (interactions.num_items + 1) + interactions.items[rows]
        new = wanted & _first_of_key(keys, counted, wanted)
        kept.append({"users": users[new], **{name: column[rows][new] for name, column in columns.items()}})
    number = int(is_target.sum())
    if not any(len(each["users"]) for each in kept):
        raise InputError(
            f"split={split.name}: all {number:,} targets of the validation or test split repeat an item that "
            "their user already has, so there is nothing new to recommend; use another split or other data, "
            "or set data.repeats=keep"
        )
    positives = is_target if interactions.roles is None else is_target[interactions.is_positive]
    return _Targets(
        {name: np.concatenate([each[name] for each in kept]) for name in kept[0]},
        number,
        limits,
        split.request_times(interactions.positives, positives),
        None if interactions.roles is None else _labelled(interactions, is_in(parts, targets)),
    )


def _labelled(interactions: Interactions, in_holdout: NDArray[np.bool_]) -> Labelled | None:
    """Return the positives and the impressions without a click of a holdout, None if one kind is missing."""
    mask = in_holdout & (interactions.is_positive | interactions.is_impression)
    labels = interactions.is_positive[mask]
    if labels.all() or not labels.any():
        return None
    weights, context = (
        None if each is None else each[mask] for each in (interactions.weights, interactions.context)
    )
    items, times = interactions.items[mask], interactions.times[mask]
    return Labelled(interactions.user_rows()[mask], items, labels, times, weights, context)


def _first_of_key(
    keys: NDArray[np.int64], considered: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which of the considered interactions [n] are the first with their key (user and item).

    Keys that no `wanted` interaction has may be left out. A hash table excludes most of them, so that little
    is sorted: leave-one-out has one target a user.
    """
    hashes = (keys * HASH).view(np.uint64) >> np.uint64(64 - HASH_BITS)
    table = np.zeros(2**HASH_BITS, dtype=np.bool_)
    table[hashes[wanted]] = True
    positions = np.flatnonzero(considered & table[hashes])
    first = np.zeros(len(keys), dtype=np.bool_)
    first[positions[np.unique(keys[positions], return_index=True)[1]]] = True
    return first
