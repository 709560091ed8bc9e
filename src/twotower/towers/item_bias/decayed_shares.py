"""How popular items were at moments of the past, as a mixture of shares that forget at different speeds.

Shapes: K knots in time, H half-lives, N items, n interactions, M events whose item was to be told.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from twotower.data.times import SECONDS_A_DAY

MOST_KNOTS, MOST_VALUES = 400, 1 << 24
"""Knots, and values of a table [K, N]: a knot a day of a year, of a large catalogue fewer."""
HALVINGS = 9
"""Half-lives are the span of the log over 2, 4, ..., 2^9, and one that forgets nothing."""
LOWEST = math.exp(-12.0)
"""Of even chance, what an item that everybody has forgotten has at least: exponentials stay numbers."""
SAMPLED_KNOTS = 64
STEPS = 200


@dataclass(frozen=True, eq=False)
class Counted:
    """A log cut into equal stretches of time.

    Attributes:
        knots: [K + 1] unix seconds, the last one behind all that happened.
        counts: [K, N], what was taken between two knots.
        half_lives: [H] in knots.
    """

    knots: NDArray[np.float64]
    counts: scipy.sparse.csr_array
    half_lives: NDArray[np.float64]

    @classmethod
    def of(cls, items: np.ndarray, times: np.ndarray, num_items: int) -> "Counted":
        """Cut a log of items [n], from 1, and unix seconds [n]."""
        number = int(np.clip(MOST_VALUES // max(1, num_items), 8, MOST_KNOTS))
        first, last = (float(times.min()), float(times.max()) + 1) if len(times) else (0.0, 1.0)
        knots = np.linspace(first, last, number + 1)
        stretch = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, number - 1)
        shape = (number, num_items)
        counts = scipy.sparse.csr_array((np.ones(len(items)), (stretch, items - 1)), shape=shape)
        return cls(knots, counts, np.append(number / 2.0 ** np.arange(1, HALVINGS + 1), np.inf))

    @property
    def stretch_days(self) -> float:
        """How long a stretch is."""
        return float(self.knots[1] - self.knots[0]) / SECONDS_A_DAY

    def ahead(self, days: float) -> float:
        """Return so many days in knots, at most a quarter of the log."""
        return min(days / self.stretch_days, self.counts.shape[0] / 4)

    def taken(self, stretch: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the columns of the items that were taken in a stretch, each once, and how often."""
        row = slice(*self.counts.indptr[stretch : stretch + 2])  # slicing a sparse array is slower
        return self.counts.indices[row], self.counts.data[row]

    def shares(self) -> Iterator[NDArray[np.float64]]:
        """Yield for each knot the share of what was taken before it, by half-life: [H, N], zeros at first."""
        held = np.zeros((len(self.half_lives), self.counts.shape[1]))
        fades = 0.5 ** (1 / self.half_lives)[:, None]
        for stretch in range(len(self.knots)):
            yield held / np.maximum(held.sum(1, keepdims=True), 1e-12)
            if stretch < self.counts.shape[0]:
                items, counts = self.taken(stretch)
                held *= fades
                held[:, items] += np.sqrt(fades) * counts


@dataclass(frozen=True)
class Mixture:
    """How much each half-life says of what is taken next.

    Attributes:
        weights: [H], and behind them the share that falls to items which nobody has taken before.
        num_new: how many such items there are at a time.
    """

    weights: NDArray[np.float64]
    num_new: float

    @classmethod
    def fit(cls, counted: Counted, ahead: float) -> "Mixture":
        """Find the weights under which what was taken after a knot is likeliest, over many knots.

        By expectation maximization, whose every step makes it likelier and whose limit is the only maximum.

        Args:
            counted: the log.
            ahead: how long after a knot, in knots.

        Reference: Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm,
        Journal of the Royal Statistical Society B, 1977, section 4.3 (finite mixtures).
        """
        number = counted.counts.shape[0]
        chosen = set(np.linspace(number // 4, number - 1, min(SAMPLED_KNOTS, number)).astype(int).tolist())
        likelihoods: list[NDArray[np.float64]] = [np.ones((0, len(counted.half_lives) + 1))]
        taken: list[NDArray[np.float64]] = [np.ones(0)]
        num_new: list[int] = []
        met = np.zeros(counted.counts.shape[1], dtype=np.bool_)
        for knot, shares in enumerate(counted.shares()):
            if knot in chosen:
                stop = min(number, knot + max(1, round(ahead)))
                counts = np.asarray(counted.counts[knot:stop].sum(axis=0)).ravel()
                items = np.flatnonzero(counts)
                is_new = ~met[items]
                num_new.append(int(is_new.sum()))
                of_new = is_new / max(1, num_new[-1])
                likelihoods.append(np.column_stack([shares[:, items].T, of_new]))
                taken.append(counts[items].astype(np.float64))
            if knot < number:
                met[counted.taken(knot)[0]] = True
        # Slow until shown to be fast: where nothing changes all speeds tell alike, and these weights stay.
        lives = np.minimum(counted.half_lives, number)
        first = np.append(lives, lives.min())
        weights = _mixed(np.concatenate(likelihoods), np.concatenate(taken), first / first.sum())
        return cls(weights, float(np.mean(num_new)))

    def half_life(self, counted: Counted) -> float:
        """Return the half-life of the mean rate at which shares are forgotten, in knots: a harmonic mean."""
        weights = self.weights[:-1]
        rate = float(weights @ (1 / counted.half_lives))
        return float(weights.sum()) / rate if rate > 0 else math.inf

    def log_odds(self, shares: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the log of how much likelier than by even chance each item is, [N], of shares [H, N]."""
        share = self.weights[:-1] @ shares
        is_new = share <= 0
        share[is_new] = self.of_new(int(is_new.sum()))
        lifted: NDArray[np.float32] = np.log(np.maximum(share * shares.shape[1], LOWEST)).astype(np.float32)
        return lifted

    def of_new(self, number: int) -> float:
        """Return the share of one of so many items that nobody has taken before."""
        return float(max(self.weights[-1], 1e-6) / max(1.0, self.num_new, number))


def _mixed(
    likelihoods: NDArray[np.float64], taken: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights [H + 1] of components under which M events, each `taken` times, are likeliest.

    Those given are where the search for them begins.
    """
    possible = likelihoods.sum(1) > 0
    likelihoods, taken = likelihoods[possible], taken[possible]
    if not len(taken):
        return weights
    for _ in range(STEPS):  # a component's share of an event is its part of that event's likelihood
        weights = weights * ((taken / (likelihoods @ weights)) @ likelihoods) / taken.sum()
    return weights
