"""From the parts that a split assigns to histories and holdouts."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.blocks import blocks_of_users
from twotower.data.dataset import Holdout, Labelled
from twotower.data.interactions import Interactions
from twotower.data.splits import split as part
from twotower.data.splits.split import Parts, Split, is_in


@dataclass(frozen=True, eq=False)
class AuditedHoldout(Holdout):
    """A holdout with figures for the audit.

    `num_repeats` are dropped targets whose user had the item before: as a target of the same holdout or,
    unless repeats are kept, in any earlier interaction, also in one that the split keeps out of histories.
    """

    target_times: NDArray[np.int64] = field(kw_only=True)  # [T]
    num_repeats: int = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class SplitInteractions:
    """Interactions cut by a split."""

    parts: Parts
    train: Interactions
    train_and_valid: Interactions  # of the final fit
    valid: AuditedHoldout
    test: AuditedHoldout
    all_interactions: Interactions  # of any part, without impressions without a click


def split_interactions(
    interactions: Interactions, split: Split, repeats: bool = False, folder: Path | None = None
) -> SplitInteractions:
    """Cut interactions into training interactions and holdouts; equal histories are one object.

    With `repeats`, items that a user has are targets too. Histories are written to the folder, if any.

    Raises:
        InputError: train, valid or test is empty, or every target repeats an item of its user's history.
    """
    parts = split.parts(interactions)
    unknown_to_valid = (*part.TEST_TARGETS, part.TEST_HISTORY)
    valid, valid_starts = _holdout(interactions, parts, split, part.VALID_TARGETS, unknown_to_valid, repeats)
    test, test_starts = _holdout(interactions, parts, split, part.TEST_TARGETS, (), repeats)

    selections = {
        "train": (part.TRAIN_PARTS, None),
        "train_and_valid": (part.TRAIN_AND_VALID_PARTS, None),
        "valid": (part.KNOWN_TO_VALID, valid_starts),
        "test": (part.KNOWN_TO_TEST, test_starts),
    }
    histories: dict[str, Interactions] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, (codes, starts) in selections.items():
        masks[name] = _selection(interactions, parts, codes, starts)
        duplicate = next(other for other in masks if np.array_equal(masks[other], masks[name]))
        if duplicate == name:
            histories[name] = interactions.select(masks[name], folder and folder / f"history_{name}")
        else:
            histories[name] = histories[duplicate]
    all_interactions = interactions
    if interactions.roles is not None:
        all_interactions = interactions.select(~interactions.is_impression)
    return SplitInteractions(
        parts=parts,
        train=histories["train"],
        train_and_valid=histories["train_and_valid"],
        valid=replace(valid, history=histories["valid"]),
        test=replace(test, history=histories["test"]),
        all_interactions=all_interactions,
    )


def _selection(
    interactions: Interactions, parts: Parts, codes: Collection[int], starts: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Return which interactions are in some parts and, with `starts`, before their user's first target."""
    mask = is_in(parts, codes)
    if starts is not None:
        counts = interactions.counts()
        before = np.clip(starts - interactions.offsets[:-1], 0, counts)
        is_before = np.tile([True, False], len(counts))
        mask &= np.repeat(is_before, np.stack([before, counts - before], axis=1).ravel())
    return mask


def _holdout(
    interactions: Interactions,
    parts: Parts,
    split: Split,
    targets: Collection[int],
    later: Collection[int],
    repeats: bool,
) -> tuple[AuditedHoldout, NDArray[np.int64]]:
    """Return a holdout whose history is all interactions, and the position of each user's first target.

    The positions, int64 [num_users + 1], include dropped targets; for users without targets they are the
    number of interactions. `later` are parts that are unknown to the holdout, so that their items are not
    repeats.
    """
    starts = np.full(interactions.num_users + 1, len(interactions), dtype=np.int64)
    num_targets, kept = 0, []
    for rows in blocks_of_users(interactions.offsets, interactions.items, what="data: finding targets"):
        is_positive = True if interactions.roles is None else interactions.is_positive[rows]
        mask = is_in(parts[rows], targets) & is_positive
        if not mask.any():
            continue
        num_targets += int(mask.sum())
        users = interactions.user_rows(rows)
        users_with_target, first = np.unique(users[mask], return_index=True)
        starts[users_with_target] = rows.start + np.flatnonzero(mask)[first]
        considered = mask if repeats else ~is_in(parts[rows], later) & is_positive
        keys = users.astype(np.int64) * (interactions.num_items + 1) + interactions.items[rows]
        # Pairs without a target are left out: leave-one-out has one target per user.
        compared = np.flatnonzero(considered & pd.Series(keys).isin(keys[mask]).to_numpy())
        is_first = ~pd.Series(keys[compared]).duplicated().to_numpy()
        kept.append(rows.start + compared[is_first & mask[compared]])
    positions = np.concatenate(kept)
    if not len(positions):
        raise InputError(
            f"split={split.name}: all {num_targets:,} targets of the validation or test split repeat an item "
            "that their user already has, so there is nothing new to recommend; use another split or other "
            "data, or set data.repeats=keep"
        )
    target_users = np.searchsorted(interactions.offsets, positions, side="right") - 1
    users, first = np.unique(target_users.astype(np.int32), return_index=True)
    holdout = AuditedHoldout(
        users=users,
        target_offsets=np.append(first, len(positions)).astype(np.int64),
        target_items=interactions.items[positions],
        request_times=split.request_times(interactions, starts)[users],
        history=interactions,
        target_times=interactions.times[positions],
        num_repeats=num_targets - len(positions),
        repeats=repeats,
        context=None if interactions.context is None else interactions.context[positions[first]],
        labelled=None if interactions.roles is None else _labelled(interactions, is_in(parts, targets)),
    )
    return holdout, starts


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
