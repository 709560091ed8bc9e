"""Which examples an epoch has that goes on from an earlier training: the new ones, and a share of the old."""

from dataclasses import dataclass

import numpy as np

from twotower.training.batches import Order


@dataclass(frozen=True, eq=False)
class Replay:
    """What is new, and how much of the old is shown again, so that it is not forgotten.

    Attributes:
        is_new: bool [n], of the log's interactions.
        share: of the old ones that an epoch has, drawn anew for each.
    """

    is_new: np.ndarray
    share: float

    @property
    def shares(self) -> np.ndarray:
        """Return how often an epoch has each example where it would have it once, float64 [n]."""
        return np.where(self.is_new, 1.0, self.share)

    def order(self, weights: np.ndarray, num_draws: int | None, seed: int) -> Order:
        """Return the order of the examples; see `Order`."""
        if num_draws is None:
            return RenewedOrder(weights, self, seed)
        # An example is drawn as often an epoch as it would be otherwise, an old one `share` times as often.
        scaled = weights * self.shares
        return Order(scaled, max(1, round(num_draws * scaled.sum() / weights.sum())), seed)


class RenewedOrder(Order):
    """Every new example once an epoch, and a share of the old ones, without replacement.

    Args:
        weights: see `Order`.
        replay: what is new.
        seed: of all orders.
    """

    def __init__(self, weights: np.ndarray, replay: Replay, seed: int) -> None:
        super().__init__(weights, None, seed)
        new = replay.is_new[self.examples]
        self.new, self.old = self.examples[new], self.examples[~new]
        self.num_replayed = round(replay.share * len(self.old))
        self.size = len(self.new) + self.num_replayed

    def epoch(self, number: int) -> np.ndarray:
        """Return positions in the log, [size]."""
        rng = np.random.default_rng([self.seed, number])
        replayed = rng.choice(self.old, self.num_replayed, replace=False)
        return rng.permutation(np.concatenate([self.new, replayed]))
