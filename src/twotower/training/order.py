"""In what order an epoch goes through its examples.

Shapes: n examples of all that may be one.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BLOCK, BLOCKS_AT_ONCE = 4096, 256
"""Examples that lie side by side on the disk are read together; so many such blocks are shuffled together."""


class Order:
    """Which examples an epoch has, and in what order; depends on (seed, epoch) alone.

    Args:
        weights: of all that may be an example; what has 0 is none.
        num_draws: see `Objective.num_draws`.
        seed: of all orders.
    """

    def __init__(self, weights: np.ndarray, num_draws: int | None, seed: int) -> None:
        self.seed = seed
        self.examples = np.flatnonzero(weights > 0).astype(place_type(len(weights)), copy=False)
        self.size = len(self.examples) if num_draws is None else num_draws
        self.cumulative: np.ndarray | None = None
        self.shares: np.ndarray | None = None
        """Of the examples, of all draws; None where each comes once."""
        if num_draws is not None:
            drawn = weights[self.examples].astype(np.float64)
            self.shares = drawn / drawn.sum()
            self.cumulative = np.cumsum(self.shares)

    @classmethod
    def like(cls, other: "Order") -> Self:
        """Return an order of this kind of the examples of another."""
        order = cls.__new__(cls)
        vars(order).update(vars(other))
        return order

    def epoch(self, number: int) -> "np.ndarray | BlockwiseEpoch":
        """Return positions among the weights, [size]."""
        rng = np.random.default_rng([self.seed, number])
        if self.cumulative is None:
            return rng.permutation(self.examples)
        drawn = np.searchsorted(self.cumulative, rng.random(self.size), side="right")
        chosen: np.ndarray = self.examples[np.minimum(drawn, len(self.examples) - 1)]
        return chosen


class BlockOrder(Order):
    """For a log that is not in memory: blocks in random order, and what is in some of them shuffled together.

    A batch then reads from `BLOCKS_AT_ONCE` places of the log and not from all of it. Where examples are
    drawn they are drawn from everywhere all the same.
    """

    def epoch(self, number: int) -> "np.ndarray | BlockwiseEpoch":
        """Return positions among the weights, [size], made as they are asked for."""
        return super().epoch(number) if self.cumulative is not None else BlockwiseEpoch(self, number)


class BlockwiseEpoch:
    """The positions of one epoch, made window by window.

    Args:
        order: says which examples there are.
        number: of the epoch.
    """

    def __init__(self, order: BlockOrder, number: int) -> None:
        self.order, self.number = order, number
        self.blocks = np.random.default_rng([order.seed, number]).permutation(-(-order.size // BLOCK))
        sizes = np.minimum(BLOCK, order.size - self.blocks * BLOCK)
        self.ends = np.add.reduceat(sizes, np.arange(0, len(sizes), BLOCKS_AT_ONCE)).cumsum()
        self._kept: tuple[int, np.ndarray] | None = None

    def __getitem__(self, places: slice) -> np.ndarray:
        """Return the positions at some places, [stop - start]."""
        start, stop = places.start, min(places.stop, self.order.size)
        first, last = np.searchsorted(self.ends, [start, stop - 1], side="right")
        found = np.concatenate([self._window(number) for number in range(first, last + 1)])
        begin = self.ends[first - 1] if first else 0
        return found[start - begin : stop - begin]

    def _window(self, number: int) -> np.ndarray:
        if self._kept is None or self._kept[0] != number:
            blocks = self.blocks[number * BLOCKS_AT_ONCE : (number + 1) * BLOCKS_AT_ONCE]
            parts = [self.order.examples[block * BLOCK : (block + 1) * BLOCK] for block in blocks]
            rng = np.random.default_rng([self.order.seed, self.number, number])
            self._kept = number, rng.permutation(np.concatenate(parts))
        return self._kept[1]


def place_type(number: int) -> type[np.int32] | type[np.int64]:
    """Return the smallest type that positions among so many have."""
    return np.int32 if number < 2**31 else np.int64


def places_of(number: int) -> NDArray[Any]:
    """Return 0, ..., number - 1, int32 or int64."""
    return np.arange(number, dtype=place_type(number))
