"""The order of the examples in an epoch.

Shapes: n interactions, m impressions without a click that are examples too.
"""

from dataclasses import dataclass

import numpy as np

from twotower.config.errors import NothingNewError

BLOCK_EXAMPLES = 1024
"""Consecutive examples that `BlockOrder` keeps together."""


class Order:
    """The examples of an epoch and their order; depends on (seed, epoch) only.

    Args:
        weights: [n] or [n + m]; those with weight 0 are no examples.
    """

    def __init__(self, weights: np.ndarray, num_draws: int | None, seed: int) -> None:
        self.seed = seed
        self.examples = np.flatnonzero(weights > 0).astype(position_type(len(weights)), copy=False)
        self.size = len(self.examples) if num_draws is None else num_draws
        self.shares: np.ndarray | None = None
        """Probability of each example in a draw; None if each example occurs once per epoch."""
        if num_draws is not None:
            drawn = weights[self.examples].astype(np.float64)
            self.shares = drawn / drawn.sum()

    def epoch(self, number: int) -> np.ndarray:
        """Return the positions of the examples, [size]."""
        rng = np.random.default_rng([self.seed, number])
        if self.shares is None:
            return rng.permutation(self.examples)
        drawn = np.searchsorted(np.cumsum(self.shares), rng.random(self.size), side="right")
        chosen: np.ndarray = self.examples[np.minimum(drawn, len(self.examples) - 1)]
        return chosen


class BlockOrder:
    """All interactions as examples, shuffled in a buffer: an epoch is never a permutation in memory.

    Blocks of `BLOCK_EXAMPLES` consecutive examples, in random order, fill a buffer, which is shuffled. Like
    `Order`, it depends on (seed, epoch) only, and any slice of an epoch can be computed.

    Args:
        size: n.
        shuffle_rows: examples of the buffer, rounded up to whole blocks.
    """

    def __init__(self, size: int, shuffle_rows: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.buffer_blocks = -(-shuffle_rows // BLOCK_EXAMPLES)

    def epoch(self, number: int) -> "BlockEpoch":
        """Return the positions of the examples, which a slice computes."""
        return BlockEpoch(self, number)


class BlockEpoch:
    """The examples of one epoch of a `BlockOrder`; keeps one shuffled buffer."""

    def __init__(self, order: BlockOrder, number: int) -> None:
        self.order, self.number = order, number
        num_whole = order.size // BLOCK_EXAMPLES
        blocks = np.random.default_rng([order.seed, number]).permutation(num_whole)
        # An incomplete block is always the last, so that every buffer but the last is full.
        self.blocks = np.append(blocks, num_whole) if order.size % BLOCK_EXAMPLES else blocks
        self.buffer, self.positions = -1, np.zeros(0, dtype=np.int64)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the positions of a slice with a start and an end."""
        size = self.order.buffer_blocks * BLOCK_EXAMPLES
        stop = min(rows.stop, self.order.size)
        parts = [
            self._shuffled(buffer)[max(rows.start - buffer * size, 0) : stop - buffer * size]
            for buffer in range(rows.start // size, -(-stop // size))
        ]
        return np.concatenate(parts)

    def _shuffled(self, buffer: int) -> np.ndarray:
        if buffer != self.buffer:
            number = self.order.buffer_blocks
            blocks = self.blocks[buffer * number : (buffer + 1) * number]
            positions = (blocks[:, None] * BLOCK_EXAMPLES + np.arange(BLOCK_EXAMPLES)).ravel()
            rng = np.random.default_rng([self.order.seed, self.number, buffer])
            self.buffer, self.positions = buffer, rng.permutation(positions[positions < self.order.size])
        return self.positions


@dataclass(frozen=True, eq=False)
class Replay:
    """The new examples of a warm start, and the share of the old ones that each epoch repeats.

    Attributes:
        is_new: [n] bool, of the interactions.
        share: of the old examples, drawn for each epoch.
        is_new_impression: [m] bool, of the impressions without a click.
        no_new_message: message of the error if no example is new.
    """

    is_new: np.ndarray
    share: float
    is_new_impression: np.ndarray
    no_new_message: str = "data: it has no new interactions"

    @property
    def shares(self) -> np.ndarray:
        """Expected number of occurrences of each example in an epoch, relative to a first training, [n]."""
        return np.where(self.is_new, 1.0, self.share)

    def order(self, weights: np.ndarray, num_draws: int | None, seed: int) -> Order:
        """Return the order of examples [n], or [n + m] with the impressions; see `Order`.

        Raises:
            NothingNewError: no example is new.
        """
        is_new = np.concatenate([self.is_new, self.is_new_impression])[: len(weights)]
        if not (is_new & (weights > 0)).any():
            raise NothingNewError(self.no_new_message)
        if num_draws is None:
            return ReplayOrder(weights, is_new, self.share, seed)
        # A new example is drawn as often per epoch as without replay, an old one `share` times as often.
        scaled = weights * np.where(is_new, 1.0, self.share)
        return Order(scaled, max(1, round(num_draws * scaled.sum() / weights.sum())), seed)


class ReplayOrder(Order):
    """Every new example once per epoch, and a share of the old ones, drawn without replacement.

    Args:
        is_new: [n + m] bool.
    """

    def __init__(self, weights: np.ndarray, is_new: np.ndarray, share: float, seed: int) -> None:
        super().__init__(weights, None, seed)
        new = is_new[self.examples]
        self.new, self.old = self.examples[new], self.examples[~new]
        self.num_replayed = round(share * len(self.old))
        self.size = len(self.new) + self.num_replayed

    def epoch(self, number: int) -> np.ndarray:
        """Return the positions of the examples, [size]."""
        rng = np.random.default_rng([self.seed, number])
        replayed = rng.choice(self.old, self.num_replayed, replace=False)
        return rng.permutation(np.concatenate([self.new, replayed]))


def position_type(number: int) -> type[np.int32] | type[np.int64]:
    """Return the smallest integer type for positions below `number`."""
    return np.int32 if number < 2**31 else np.int64
