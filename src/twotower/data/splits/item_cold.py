"""A split with items that are not in the training data, so that only their features describe them."""

import numpy as np

from twotower.config.spec import ProperFraction, Seed
from twotower.data.blocks import blocks
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.splits.split import NONE, TRAIN, VALID, VALID_ONLY, Parts
from twotower.data.splits.temporal import Temporal


class ItemCold(Temporal):
    """`Temporal`, without the interactions of a share of the items in training and histories.

    Cold items are targets in both windows and occur in no history, so that metrics on cold items measure
    features alone. Their interactions before the windows are dropped. Warm items are targets as well: compare
    the slices.
    """

    class Config(Temporal.Config):
        share: ProperFraction = 0.2
        """Share of the catalogue that is cold."""
        seed: Seed = 0
        """Seed of the choice of items."""

    config: Config
    name = "item_cold"

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction, by its time and its item."""
        return self._without_cold(interactions, super().assign(interactions))

    def spread(self, interactions: Interactions, parts: Parts) -> Parts:
        """Return the part of every interaction, by its time and its item."""
        return self._without_cold(interactions, super().spread(interactions, parts))

    def _without_cold(self, interactions: Interactions, parts: Parts) -> Parts:
        cold = self._is_cold(interactions)
        for rows in blocks(len(interactions), interactions.items):
            is_cold, some = cold[interactions.items[rows]], parts[rows]
            some[is_cold & (some == TRAIN)] = NONE
            some[is_cold & (some == VALID)] = VALID_ONLY
        return parts

    def audit(self, interactions: Interactions) -> Audit:
        """Return the cutoffs and the number of cold items."""
        return {**super().audit(interactions), "held_out_items": int(self._is_cold(interactions).sum())}

    def remedy(self, interactions: Interactions) -> str:
        """Return the windows and the settings that move them."""
        return (
            f"{super().remedy(interactions)}, or split.share (now {self.config.share} of the items are cold)"
        )

    def _is_cold(self, interactions: Interactions) -> np.ndarray:
        cold = np.zeros(interactions.num_items + 1, dtype=np.bool_)
        rows = np.arange(1, interactions.num_items + 1)
        shuffled = np.random.default_rng(self.config.seed).permutation(rows)
        cold[shuffled[: round(interactions.num_items * self.config.share)]] = True
        return cold
