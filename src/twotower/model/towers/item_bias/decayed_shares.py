"""Popularity of items at past times, as a mixture of exponentially decayed shares.

Shapes: K time intervals, H half-lives, S shorter ones, N items, n interactions, M predicted items.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.data.times import SECONDS_A_DAY

MAX_KNOTS, MAX_VALUES = 400, 1 << 24
"""Maximum number of intervals, and of values in a table [K, N]; large catalogues have fewer intervals."""
NUM_HALF_LIVES = 9
"""Half-lives are the time span of the log over 2, 4, ..., 2^9, and infinity."""
SHORTEST_SECONDS, REACH = 1_800, 20
"""Shorter half-lives are at least this long; an interaction has a share for this many of them."""
MIN_ODDS = math.exp(-12.0)
"""Minimum share of an item relative to a uniform share, so that logs are finite."""
SAMPLED_KNOTS = 64
STEPS = 200


@dataclass(frozen=True, eq=False)
class IntervalCounts:
    """Interactions per item in time intervals of equal length."""

    knots: NDArray[np.float64]
    """[K + 1] unix seconds, the borders of the intervals."""
    counts: scipy.sparse.csr_array
    """[K, N] interactions in each interval."""
    half_lives: NDArray[np.float64]
    """[H] in intervals, the last one infinite."""
    items: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """[n] of all interactions."""
    times: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] unix seconds."""

    @classmethod
    def from_log(cls, items: np.ndarray, times: np.ndarray, num_items: int) -> "IntervalCounts":
        """Count the interactions with items [n], from 1, at unix seconds [n]."""
        number = int(np.clip(MAX_VALUES // max(1, num_items), 8, MAX_KNOTS))
        first, last = (float(times.min()), float(times.max()) + 1) if len(times) else (0.0, 1.0)
        knots = np.linspace(first, last, number + 1)
        intervals = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, number - 1)
        shape = (number, num_items)
        counts = scipy.sparse.csr_array((np.ones(len(items)), (intervals, items - 1)), shape=shape)
        half_lives = np.append(number / 2.0 ** np.arange(1, NUM_HALF_LIVES + 1), np.inf)
        return cls(knots, counts, half_lives, items, times)

    @property
    def interval_days(self) -> float:
        """The length of an interval in days."""
        return float(self.knots[1] - self.knots[0]) / SECONDS_A_DAY

    def shorter_half_lives(self) -> NDArray[np.float64]:
        """Return half-lives shorter than `half_lives`, in intervals, [S]; empty for a short log."""
        longest = self.half_lives[-2] / 2
        least = SHORTEST_SECONDS / (self.interval_days * SECONDS_A_DAY)
        number = max(0, 1 + math.floor(math.log2(longest / least)))
        half_lives: NDArray[np.float64] = longest / 2.0 ** np.arange(number)
        return half_lives

    def exact_shares(self, time: float, half_lives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the decayed shares of the interactions before a time, without intervals, [S, N].

        Args:
            half_lives: [S] in intervals.
        """
        shares = np.zeros((len(half_lives), self.counts.shape[1]))
        seconds = half_lives * self.interval_days * SECONDS_A_DAY
        for row, half_life in enumerate(seconds):
            items, times = self._by_time
            recent = slice(*np.searchsorted(times, [time - REACH * half_life, time]))
            decayed = 0.5 ** ((time - times[recent]) / half_life)
            shares[row] = np.bincount(items[recent] - 1, decayed, minlength=shares.shape[1])
        shares /= np.maximum(shares.sum(1, keepdims=True), 1e-12)
        return shares

    @functools.cached_property
    def _by_time(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Items and times in order of time; most logs do not need them."""
        order = np.argsort(self.times, kind="stable")
        return self.items[order], self.times[order]

    def shares(self) -> Iterator[NDArray[np.float64]]:
        """Yield for each knot the decayed shares of the interactions before it, [H, N]."""
        decayed = np.zeros((len(self.half_lives), self.counts.shape[1]))
        decay = 0.5 ** (1 / self.half_lives)[:, None]
        for start, end in itertools.pairwise(self.counts.indptr):  # slicing a sparse array is slower
            yield decayed / np.maximum(decayed.sum(1, keepdims=True), 1e-12)
            decayed *= decay
            decayed[:, self.counts.indices[start:end]] += np.sqrt(decay) * self.counts.data[start:end]
        yield decayed / np.maximum(decayed.sum(1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Mixture:
    """Weights of the half-lives in the prediction of later interactions."""

    weights: NDArray[np.float64]
    """[H + S + 1], the last one is the share of items without earlier interactions."""
    num_new: float
    """Mean number of these items at a time."""
    shorter: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """[S] half-lives in intervals; see `IntervalCounts.shorter_half_lives`."""

    @classmethod
    def fit(cls, counted: IntervalCounts, ahead_days: float) -> "Mixture":
        """Maximize the likelihood of interactions in the days after many knots, given earlier ones.

        The days are at most a quarter of the log. If the shortest half-life has the highest weight, as for
        news, shorter ones are fitted, too. Expectation maximization, which converges to the only maximum.

        Reference: Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm,
        Journal of the Royal Statistical Society B, 1977, section 4.3 (finite mixtures).
        """
        mixture = cls._fit(counted, ahead_days, np.zeros(0))
        if mixture.weights[:-1].argmax() == len(counted.half_lives) - 2:
            mixture = cls._fit(counted, ahead_days, counted.shorter_half_lives())
        return mixture

    @classmethod
    def _fit(cls, counted: IntervalCounts, ahead_days: float, shorter: NDArray[np.float64]) -> "Mixture":
        number = counted.counts.shape[0]
        ahead = max(1, round(min(ahead_days / counted.interval_days, number / 4)))
        chosen = set(np.linspace(number // 4, number - 1, min(SAMPLED_KNOTS, number)).astype(int).tolist())
        likelihoods, multiplicities, num_new = [], [], []
        for knot, shares in enumerate(counted.shares()):
            if knot not in chosen:
                continue
            counts = np.asarray(counted.counts[knot : knot + ahead].sum(axis=0)).ravel()
            items = np.flatnonzero(counts)
            is_new = shares[-1, items] == 0  # of the infinite half-life
            num_new.append(int(is_new.sum()))
            exact = counted.exact_shares(counted.knots[knot], shorter)[:, items]
            is_new = is_new / max(1, num_new[-1])
            likelihoods.append(np.column_stack([shares[:, items].T, exact.T, is_new]))
            multiplicities.append(counts[items])
        # Initial weights prefer long half-lives; they remain if popularity does not change.
        lives = np.minimum(counted.half_lives, number)
        initial = np.concatenate([lives, shorter, [lives.min()]])
        weights, likelihood = initial / initial.sum(), np.concatenate(likelihoods)
        is_possible = likelihood.sum(1) > 0
        likelihood, counts = likelihood[is_possible], np.concatenate(multiplicities)[is_possible]
        for _ in range(STEPS if len(counts) else 0):
            # A component's share of an item is its share of the likelihood.
            weights = weights * ((counts / (likelihood @ weights)) @ likelihood) / counts.sum()
        return cls(weights, float(np.mean(num_new)), shorter)

    def half_life(self, counted: IntervalCounts) -> float:
        """Return the half-life of the mean decay rate, in intervals: a harmonic mean."""
        weights = self.weights[:-1]
        rate = float(weights @ (1 / np.concatenate([counted.half_lives, self.shorter])))
        return float(weights.sum()) / rate if rate > 0 else math.inf

    def log_odds(
        self, shares: NDArray[np.float64], exact: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Return the log of each item's predicted share over a uniform share, [N].

        Args:
            shares: [H, N] of the intervals.
            exact: [S, N] of the shorter half-lives; None: the shares of the shortest half-life.
        """
        number = len(self.shorter)
        exact = np.tile(shares[-2], (number, 1)) if exact is None else exact
        share = self.weights[:-1] @ np.concatenate([shares, exact]) if number else self.weights[:-1] @ shares
        is_new = share <= 0
        share[is_new] = self.share_of_new_item(int(is_new.sum()))
        odds: NDArray[np.float64] = np.maximum(share * shares.shape[1], MIN_ODDS)
        return np.log(odds).astype(np.float32)

    def share_of_new_item(self, number: int) -> float:
        """Return the share of one of `number` items without earlier interactions."""
        return float(max(self.weights[-1], 1e-6) / max(1.0, self.num_new, number))


@functools.lru_cache(maxsize=1)
def fit_mixture(
    interactions: Interactions, num_items: int, ahead_days: float
) -> tuple[IntervalCounts, Mixture]:
    """Count the positives in intervals and fit the mixture to them; see `Mixture.fit`.

    Cached, because the objective and the item bias of a training both read it, and the fit takes a second.
    """
    positives = interactions.positives
    counted = IntervalCounts.from_log(np.asarray(positives.items), np.asarray(positives.times), num_items)
    return counted, Mixture.fit(counted, ahead_days)
