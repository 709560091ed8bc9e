"""Per-user values of runs, and paired tests of mean differences: over users, and over seeds too.

Shapes: Q users, C pairs.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from twotower.evaluation.metrics.metric import Floats
from twotower.evaluation.power import ALPHA, cautious_error
from twotower.experiments.runs.result import TEST_EXACT

NUM_FLIPS = 10_000
MIN_FLIPS = 2_000
MAX_SIGNS = 3 * 10**8
"""Flips times users: above this there are fewer flips, to limit the time."""
MAX_ENUMERATED = 12
"""Up to this many users that differ, all sign vectors are tried."""
BLOCK = 2**21
TIE = 1e-9


class UnpairedError(Exception):
    """Per-user values cannot be compared; the message gives the reason."""


def user_difference(one: np.ndarray, other: np.ndarray) -> str:
    """Return how two sorted lists of users differ; empty if they are equal."""
    if len(one) != len(other):
        return f"other users ({len(one):,} against {len(other):,})"
    if one.dtype.kind != other.dtype.kind or not np.array_equal(one, other):
        return f"other users (also {len(one):,}, but not the same)"
    return ""


def read_column(path: Path, column: str, baseline: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted users [Q] of a per-user table and their values [Q], of a `baseline` if given.

    A run with an exact index has no columns `test_exact/...`; its plain columns are read instead. Raises
    UnpairedError if the file is absent or damaged, or does not have a number for every user.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    if not path.is_file():
        raise UnpairedError(f"it has no {path.name}")
    try:
        with ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            if column not in names:
                column = column.removeprefix(f"{TEST_EXACT}/")
            columns = ["user_id", column, *(["baseline"] if baseline else [])]
            if missing := [name for name in columns if name not in names]:
                raise UnpairedError(
                    f"{path.name} has no column {missing[0]}; a figure of the whole catalogue has none"
                )
            table = file.read(columns=columns, use_threads=False)
            users, values, *baselines = (table[name].to_numpy() for name in columns)
    except (ArrowException, OSError) as error:
        raise UnpairedError(f"{path.name} is damaged ({' '.join(str(error).split())[:120]})") from error
    if baseline:
        chosen = baselines[0].astype(str) == baseline
        users, values = users[chosen], values[chosen]
    if not len(users):
        raise UnpairedError(f"{path.name} has no user" + (f" of {baseline!r}" if baseline else ""))
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise UnpairedError(f"{path.name}: {column} is not a number for every user")
    users = users.astype(str) if users.dtype.kind == "O" else users
    order = np.argsort(users, kind="stable")
    users = users[order]
    if (users[1:] == users[:-1]).any():
        raise UnpairedError(f"{path.name} names a user twice")
    return users, values[order].astype(np.float64)


class SignFlips(NamedTuple):
    """Sign-flip test of the mean of paired differences: its p-value, and the interval that inverts it.

    With the differences from a hypothetical mean m, a sign vector has a sum as far from 0 as the one observed
    if m lies between the mean differences of the users with either sign: from `lows` to `highs`, [F] for F
    sign vectors, each sorted. The observed vector has no ends.
    """

    differences: Floats
    lows: Floats
    highs: Floats
    is_exact: bool

    def p_value(self) -> float:
        """Return the two-sided p-value of the mean 0."""
        count = min(np.searchsorted(self.lows, 0, "right"), np.count_nonzero(self.highs >= 0))
        p_value = float(count / len(self.lows))
        total, squares = self.differences.sum(), np.sum(self.differences**2)
        if self.is_exact or count > 1 or not squares:
            return p_value
        return min(p_value, float(2 * np.exp(-(total**2) / (2 * squares))))

    def interval(self, level: float = ALPHA) -> tuple[float, float]:
        """Return the ends of the means that are not rejected at this level; NaN if none is ever rejected.

        The interval excludes 0 if and only if the p-value is at most the level.
        """
        at, reach = int(level * len(self.lows) + TIE), 0.0
        mean, low, high = self.differences.mean(), self.lows[at], self.highs[-1 - at]
        if at == 0 and not self.is_exact:
            exponent = 2 * np.log(2 / level)
            room = len(self.differences) - exponent
            reach = np.sqrt(exponent / room) * self.differences.std() if room > 0 else np.inf
            low, high = min(self.lows[1], mean - reach), max(self.highs[-2], mean + reach)
        return (float(low), float(high)) if np.isfinite([low, high]).all() else (np.nan, np.nan)


def sign_flips(differences: Floats, num_flips: int = NUM_FLIPS, seed: int = 0) -> list[SignFlips]:
    """Return the sign-flip test of the mean difference of each of C pairs over Q users.

    The p-value is the share of sign vectors whose sum of differences is at least as far from 0 as the one
    observed. All sign vectors are tried if at most 12 users differ. Otherwise 10,000 are drawn (fewer for
    very many users), the same for all pairs: any number of pairs costs one matrix product, unlike
    `scipy.stats.permutation_test`. The observed one is counted with them, so that p is never 0. Where no
    drawn vector reaches the observed sum, p is at most 2 exp(-t^2 / 2) with t = sum / sqrt(sum of squares):
    the number of flips must not limit a correction for thousands of comparisons.

    References: Smucker, Allan and Carterette (2007), A comparison of statistical significance tests for
    information retrieval evaluation, section 3.1; Phipson and Smyth (2010), Permutation p-values should never
    be zero; Hoeffding (1963), Probability inequalities for sums of bounded random variables, theorem 2;
    Hartigan (1969), Using subsample values as typical values (means of subsamples as ends of intervals).
    """
    num_users = differences.shape[1]
    num_flips = min(num_flips, max(MIN_FLIPS, MAX_SIGNS // max(1, num_users)))
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // max(1, num_users))
    sums, balances = [differences.sum(axis=1)[None]], [np.full(1, num_users)]
    for start in range(0, num_flips, size):
        num_rows = min(size, num_flips - start)
        bits = generator.integers(256, size=(num_rows, -(-num_users // 8)), dtype=np.uint8)
        signs = np.unpackbits(bits, axis=1, count=num_users).astype(np.float64) * 2.0 - 1.0
        sums.append(signs @ differences.T)
        balances.append(signs.sum(axis=1))
    drawn, balance = np.concatenate(sums), np.concatenate(balances)
    return [
        _exact_sign_flips(row, np.random.default_rng(seed))
        if np.count_nonzero(row) <= MAX_ENUMERATED
        else _sign_flips(row, drawn[:, pair], balance, is_exact=False)
        for pair, row in enumerate(differences)
    ]


def _exact_sign_flips(row: Floats, generator: np.random.Generator) -> SignFlips:
    """Return the test over all sign vectors of the users who differ, or over drawn ones."""
    differing = row[row != 0]
    num_equal = len(row) - len(differing)
    number = 2 ** (MAX_ENUMERATED + 1 if num_equal else len(differing))
    signs = 1 - 2 * ((np.arange(number)[:, None] >> np.arange(len(differing))) & 1)
    balance = signs.sum(axis=1) + 2 * generator.binomial(num_equal, 0.5, number) - num_equal
    return _sign_flips(row, signs @ differing, balance, is_exact=True)


def _sign_flips(row: Floats, sums: Floats, balance: Floats, is_exact: bool) -> SignFlips:
    """Return the test from the signed sums [F] of the differences, and the sums [F] of the signs."""
    total, rounding = row.sum(), TIE * np.abs(row).sum()
    sides = np.stack([total + sums, total - sums])
    sides[np.abs(sides) <= rounding] = 0
    numbers = len(row) + np.stack([balance, -balance])
    is_observed = (numbers == 0).any(axis=0)
    means = sides / np.maximum(numbers, 1)
    lows = np.sort(np.where(is_observed, -np.inf, means.min(axis=0)))
    return SignFlips(row, lows, np.sort(np.where(is_observed, np.inf, means.max(axis=0))), is_exact)


def holm(p_values: Floats) -> Floats:
    """Return p-values corrected for their number: at .05, the chance of any false finding is at most .05.

    Reference: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def holm_levels(corrected: Floats) -> Floats:
    """Return the level at which Holm's method tests each p-value, given the corrected ones.

    If k of m are rejected, the i-th smallest of them was tested at .05 / (m - i), and all others at
    .05 / (m - k).
    """
    ranks = np.argsort(np.argsort(corrected, kind="stable"), kind="stable")
    num_rejected = np.count_nonzero(corrected <= ALPHA)
    return np.asarray(ALPHA / (len(corrected) - np.minimum(ranks, num_rejected)), dtype=np.float64)


class MeanDifference(NamedTuple):
    """A difference of two means with its standard error and degrees of freedom.

    `user_share` is the share of the squared error that more users reduce; more seeds reduce the rest.
    """

    mean: float
    error: float
    freedom: float
    user_share: float

    def p_value(self) -> float:
        """Return Student's two-sided p-value of the mean 0."""
        if self.error == 0:
            return float(self.mean == 0)
        return 2 * float(stdtr(self.freedom, -abs(self.mean) / self.error))

    def interval(self, level: float = ALPHA) -> tuple[float, float]:
        """Return the ends of Student's interval, which contains the means that are not rejected."""
        half = self.error * float(stdtrit(self.freedom, 1 - level / 2))
        return self.mean - half, self.mean + half


def difference_over_users(differences: Floats) -> MeanDifference:
    """Return the mean of paired differences [Q] and its cautious error, see `cautious_error`."""
    return MeanDifference(float(differences.mean()), cautious_error(differences), len(differences) - 1.0, 1.0)


def difference_over_seeds(left: Floats, right: Floats) -> MeanDifference:
    """Return the mean of left [S, Q] - right [S', Q] over users and seeds; one side at least has several.

    Users and seeds are two crossed samples: the squared error is that over users plus that over each side's
    seeds, minus the part that both contain. Degrees of freedom are weighted over the sources. Resampling
    would be too narrow for two or three seeds.

    References: Cameron, Gelbach and Miller (2011), Robust inference with multiway clustering; Satterthwaite
    (1946), An approximate distribution of estimates of variance components.
    """
    num_users = left.shape[1]
    differences = left.mean(axis=0) - right.mean(axis=0)
    delta = float(differences.mean())
    terms = [(float(differences.var(ddof=1)) / num_users, num_users - 1)]
    both = 0.0
    for side in (left, right):
        if len(side) > 1:
            terms.append((float(side.mean(axis=1).var(ddof=1)) / len(side), len(side) - 1))
            interaction = side - side.mean(axis=0) - side.mean(axis=1, keepdims=True) + side.mean()
            degrees = (len(side) - 1) * max(1, num_users - 1)
            both += float(np.sum(interaction**2) / degrees) / side.size
    seeds = sum(term for term, _ in terms[1:])
    variance = max(terms[0][0] + seeds - both, terms[0][0], seeds)
    if variance <= 0:
        return MeanDifference(delta, 0.0, 1.0, 1.0)
    freedom: float = variance**2 / sum(term**2 / degrees for term, degrees in terms if term > 0)
    return MeanDifference(delta, float(np.sqrt(variance)), freedom, terms[0][0] / variance)
