"""Which examples an epoch has that goes on from an earlier training: the new ones, and a share of the old."""

from dataclasses import dataclass

import numpy as np

from twotower.config.errors import InputError
from twotower.training.order import Order


@dataclass(frozen=True, eq=False)
class Replay:
    """What is new, and how much of the old is shown again, so that it is not forgotten.

    Attributes:
        is_new: bool [n], of the log's interactions.
        share: of the old ones that an epoch has, drawn anew for each.
        is_new_shown: bool [m], of the negatives that were shown.
        nothing: what to say where nothing new is an example.
    """

    is_new: np.ndarray
    share: float
    is_new_shown: np.ndarray
    nothing: str = "data: nothing in it is new"

    @property
    def shares(self) -> np.ndarray:
        """Return how often an epoch has each example where it would have it once, float64 [n]."""
        return np.where(self.is_new, 1.0, self.share)

    def order(self, weights: np.ndarray, num_draws: int | None, seed: int) -> Order:
        """Return the order of examples [n], or [n + m] with the negatives that were shown; see `Order`.

        Raises:
            InputError: nothing new is an example.
        """
        is_new = np.concatenate([self.is_new, self.is_new_shown])[: len(weights)]
        if not (is_new & (weights > 0)).any():
            raise InputError(self.nothing)
        if num_draws is None:
            return RenewedOrder(weights, is_new, self.share, seed)
        # An example is drawn as often an epoch as it would be otherwise, an old one `share` times as often.
        scaled = weights * np.where(is_new, 1.0, self.share)
        return Order(scaled, max(1, round(num_draws * scaled.sum() / weights.sum())), seed)


class RenewedOrder(Order):
    """Every new example once an epoch, and a share of the old ones, without replacement.

    Args:
        weights: see `Order`.
        is_new: of what has a weight, which is new.
        share: of the old, see `Replay`.
        seed: of all orders.
    """

    def __init__(self, weights: np.ndarray, is_new: np.ndarray, share: float, seed: int) -> None:
        super().__init__(weights, None, seed)
        new = is_new[self.examples]
        self.new, self.old = self.examples[new], self.examples[~new]
        self.num_replayed = round(share * len(self.old))
        self.size = len(self.new) + self.num_replayed

    def epoch(self, number: int) -> np.ndarray:
        """Return positions in the log, [size]."""
        rng = np.random.default_rng([self.seed, number])
        replayed = rng.choice(self.old, self.num_replayed, replace=False)
        return rng.permutation(np.concatenate([self.new, replayed]))
