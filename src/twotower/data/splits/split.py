"""Base class of splits: assigns a part to each interaction."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.spec import PositiveFraction
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions

TRAIN, VALID, TEST, VALID_HISTORY, TEST_HISTORY, VALID_ONLY, NONE = range(7)
"""Parts: `VALID` and `TEST` are targets; `VALID` targets are part of later histories, `VALID_ONLY` of none.

`VALID_HISTORY` and `TEST_HISTORY` are histories of their users' targets: `VALID_HISTORY` trains the final
fit only, `TEST_HISTORY` never trains. `NONE` is dropped.
"""
TRAIN_PARTS = (TRAIN,)
VALID_TARGETS, TEST_TARGETS = (VALID, VALID_ONLY), (TEST,)
KNOWN_TO_VALID = (TRAIN, VALID_HISTORY)
TRAIN_AND_VALID_PARTS = (TRAIN, VALID_HISTORY, VALID)
KNOWN_TO_TEST = (*TRAIN_AND_VALID_PARTS, TEST_HISTORY)
Parts = NDArray[np.int8]


class Split(Component, ABC):
    """Assigns interactions to training, histories and targets; equal interactions get equal parts."""

    class Config(Component.Config):
        user_share: PositiveFraction = 1.0
        """Share of the users that are used, drawn at random, for quick experiments; the interactions of the
        others are dropped, the catalogue stays complete. A larger share contains all users of a smaller
        one."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`."""
            return ()

        def size_settings(self, part: str) -> list[str]:
            """Return the fields to raise so that more users have targets in `valid` or `test`."""
            return ["user_share"] if self.user_share < 1 else []

        def windows(self) -> Sequence[int]:
            """Return the windows in time on which a run trains one after another, the oldest first."""
            return ()

        def build(self) -> "Split":
            """Build the split."""
            return self.make(Split)

    config: Config
    name: str
    """Name of its choice in `conf/split/`."""
    end: int | None = None
    """The first second that is not part of the data, see `resolve`; None: all times are."""
    by_order: ClassVar[bool] = False
    """Whether the order of a user's interactions determines the targets."""

    def resolve(self, interactions: Interactions) -> "Split":
        """Return the split with the values that depend on the positives of the whole log, before the cut."""
        return self

    @abstractmethod
    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction, int8 [n]; all interactions are positive."""

    def spread(self, interactions: Interactions, parts: Parts) -> Parts:
        """Return the part of every interaction, int8 [n], from the parts of the positives.

        By default an impression without a click gets the part of the next positive of its user, any other
        interaction the part of the previous positive; if there is none, of the nearest positive. Users
        without positives train.
        """
        spread = np.full(len(interactions), TRAIN, dtype=np.int8)
        positives = np.flatnonzero(interactions.is_positive)
        if len(positives) == 0:
            return spread
        users, positions = interactions.user_rows(), np.arange(len(interactions))
        after = np.searchsorted(positives, positions)  # the first positive at or after each interaction
        before = np.searchsorted(positives, positions, side="right") - 1
        first_choice = np.where(interactions.is_impression, after, before)
        second_choice = np.where(interactions.is_impression, before, after)
        for nearest in (second_choice, first_choice):  # the last write has priority
            exists = (nearest >= 0) & (nearest < len(positives))
            exists &= users[positives[np.where(exists, nearest, 0)]] == users
            spread[exists] = parts[nearest[exists]]
        return spread

    @abstractmethod
    def remedy(self, interactions: Interactions) -> str:
        """Return the message if a part is empty: what the parts are and which settings to change."""

    def request_times(self, interactions: Interactions, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return request times in unix seconds, [num_users + 1]; 0 for users without targets.

        By default the time of the user's first target. `starts`: its position, int64 [num_users + 1]; without
        targets the number of interactions.
        """
        has_target = starts < len(interactions)
        times = np.zeros(len(starts), dtype=np.int64)
        times[has_target] = interactions.times[starts[has_target]]
        return times

    def audit(self, interactions: Interactions) -> Audit:
        """Return figures for the audit in addition to the common ones."""
        return {}

    def parts(self, interactions: Interactions) -> Parts:
        """Return the part of every interaction; raises InputError if train, valid or test is empty."""
        positives = interactions.positives
        parts = self._drop_unused_users(positives, self.assign(positives).astype(np.int8, copy=False))
        assert parts.shape == positives.items.shape
        for part, codes in (("train", TRAIN_PARTS), ("valid", VALID_TARGETS), ("test", TEST_TARGETS)):
            if not is_in(parts, codes).any():
                share = self.config.user_share
                remedy = f"raise split.user_share (now {share}) or leave it out"
                raise InputError(
                    f"split={self.name}: {part} holds none of the {len(positives):,} interactions; "
                    f"{self.remedy(positives) if share == 1 else remedy}"
                )
        if interactions.roles is None:
            return parts
        return self._drop_unused_users(interactions, self.spread(interactions, parts))

    def _drop_unused_users(self, interactions: Interactions, parts: Parts) -> Parts:
        """Drop interactions of users outside `user_share`; changes and returns the parts."""
        if self.config.user_share == 1:
            return parts
        shuffled = np.random.default_rng(0).permutation(np.arange(1, interactions.num_users + 1))
        is_out = np.ones(interactions.num_users + 1, dtype=np.bool_)
        is_out[shuffled[: max(1, round(interactions.num_users * self.config.user_share))]] = False
        parts[np.repeat(is_out, interactions.counts())] = NONE
        return parts


def is_in(parts: Parts, codes: Collection[int]) -> NDArray[np.bool_]:
    """Return which interactions are in one of some parts, bool [n]."""
    bits = np.uint8(sum(1 << code for code in codes))
    mask: NDArray[np.bool_] = (np.left_shift(np.uint8(1), parts.view(np.uint8)) & bits) != 0
    return mask
