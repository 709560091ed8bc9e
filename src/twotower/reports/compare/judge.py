"""All differences of a table at once: which can be tested, the tests, their correction, and the verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from twotower.reports.compare.entries import OF_THE_INDEX, Entry, column_of, direction_of, written
from twotower.reports.compare.paired import (
    Luck,
    bootstrap_intervals,
    difference_over_seeds,
    holm,
    sign_flip_p_values,
)
from twotower.reports.compare.per_user import UnpairedError, UserTable, other_users, read_values
from twotower.reports.compare.record import other_data

ALPHA = 0.05
DIFFERS = 1e-6
BETTER, WORSE, NONE_SHOWN = "better", "worse", "no difference shown"
HIGHER, LOWER = "higher", "lower"
"""What is said of a figure that has no better direction."""
SAME = "the same in every user"
SEED_ONLY, BY_SEED = "same configuration: seed only", "differs by seed"
REPEAT, BY_REPEAT = "same configuration and seed", "differs, though repeated"
NOT_COMPARABLE, NOT_TESTED, UNTESTED = "not comparable", "not tested", ""

Data = tuple[str, str]
"""Fingerprint and seen filter of what runs were judged on."""
Key = tuple[int, int]


@dataclass(frozen=True)
class PairedTest:
    """A paired test of left - right: the 95 % interval and p of it alone, p corrected for the number of
    tests, and whether seeds, not only users, were counted as luck.
    """

    low: float
    high: float
    p_value: float
    corrected: float
    with_seeds: bool


@dataclass(frozen=True)
class Difference:
    """What is known of left - right; no verdict where no test was asked for, no delta if it means nothing."""

    left: Entry
    right: Entry
    verdict: str
    reason: str = ""
    delta: float | None = None
    tested: PairedTest | None = None


@dataclass(frozen=True)
class Judgement:
    """The differences in the order asked, and how many tests they were corrected for."""

    differences: list[Difference]
    num_tests: int
    num_users: int


class Judge:
    """Compares pairs of rows by one metric."""

    def __init__(self, metric: str, tests: bool, luck: Mapping[Data, Luck | None]) -> None:
        self.metric, self.luck = metric, luck
        self.column = column_of(metric)
        self.tests = tests and self.column is not None
        self.tables: list[UserTable] = []
        self.by_content: dict[tuple[bytes, ...], int] = {}
        self.read: dict[int, int | UnpairedError] = {}

    def judge(self, pairs: Sequence[tuple[Entry, Entry]]) -> Judgement:
        """Compare each pair; pairs that are the same test under other names are tested and counted once."""
        untested = [self._untested(left, right) for left, right in pairs]
        waiting = [pair for pair, found in zip(pairs, untested, strict=True) if found is None]
        keys = {self._key(left, right) for left, right in waiting}
        tested = self._test(sorted(key for key in keys if key[0] != key[1]))
        found = [
            known or self._tested(left, right, tested)
            for (left, right), known in zip(pairs, untested, strict=True)
        ]
        num_users = max((len(self.tables[number].users) for key in keys for number in key), default=0)
        return Judgement(found, len(tested), num_users)

    def _untested(self, left: Entry, right: Entry) -> Difference | None:
        """Return the difference of a pair that is not to be tested, None for one that is."""
        if reason := other_data(left.run, right.run):
            return Difference(left, right, NOT_COMPARABLE, reason)
        if self.metric not in left.figures or self.metric not in right.figures:
            return Difference(left, right, NOT_TESTED, f"one of them has no {self.metric}")
        delta = left.figures[self.metric] - right.figures[self.metric]
        if not self.tests:
            return Difference(left, right, UNTESTED, "", delta)
        users = []
        for entry in (left, right):
            try:
                users.append(self.tables[self._number(entry)].users)
            except UnpairedError as error:
                of = "" if entry is left else f"{entry.name}: "
                return Difference(left, right, NOT_TESTED, f"{of}{error}", delta)
        if reason := other_users(*users):
            return Difference(left, right, NOT_COMPARABLE, reason)
        return None if len(users[0]) > 1 else Difference(left, right, NOT_TESTED, "only one user", delta)

    def _key(self, left: Entry, right: Entry) -> Key:
        first, second = sorted((self._number(left), self._number(right)))
        return first, second

    def _number(self, entry: Entry) -> int:
        """Return the number of a row's values: rows that serve the same lists have the same one."""
        if id(entry) not in self.read:
            try:
                table = self._values(entry)
                content = table.users.tobytes(), table.values.tobytes(), _lists(entry, table)
                if content not in self.by_content:
                    self.by_content[content] = len(self.tables)
                    self.tables.append(table)
                self.read[id(entry)] = self.by_content[content]
            except UnpairedError as error:
                self.read[id(entry)] = error
        found = self.read[id(entry)]
        if isinstance(found, UnpairedError):
            raise found
        return found

    def _values(self, entry: Entry) -> UserTable:
        assert self.column is not None
        table = read_values(entry, self.column)
        if abs(float(table.values.mean()) - entry.figures[self.metric]) > DIFFERS:
            raise UnpairedError(f"its per-user values do not average to its {self.metric}")
        return table

    def _test(self, keys: Sequence[Key]) -> dict[Key, PairedTest]:
        """Test pairs of values, the lower number less the higher, and correct for how many they are."""
        tested: dict[Key, PairedTest] = {}
        by_users: dict[bytes, list[Key]] = {}
        for key in keys:
            left, right = (self.tables[number] for number in key)
            if left.seeds_known and right.seeds_known and (left.has_seed or right.has_seed):
                tested[key] = PairedTest(*difference_over_seeds(left.values, right.values), 1.0, True)
            else:
                by_users.setdefault(left.users.tobytes(), []).append(key)
        for group in by_users.values():
            numbers = sorted({number for key in group for number in key})
            values = np.stack([self.tables[number].values.mean(axis=0) for number in numbers])
            pairs = np.searchsorted(numbers, np.array(group)).astype(np.intp)
            intervals, p_values = bootstrap_intervals(values, pairs), sign_flip_p_values(values, pairs)
            for key, (low, high), p_value in zip(group, intervals, p_values, strict=True):
                tested[key] = PairedTest(float(low), float(high), float(p_value), 1.0, False)
        corrected = holm(np.array([each.p_value for each in tested.values()]))
        return {
            key: replace(each, corrected=float(value))
            for (key, each), value in zip(tested.items(), corrected, strict=True)
        }

    def _tested(self, left: Entry, right: Entry, tested: Mapping[Key, PairedTest]) -> Difference:
        key, delta = self._key(left, right), left.figures[self.metric] - right.figures[self.metric]
        if key[0] == key[1]:
            return Difference(left, right, SAME, "", delta)
        figures = tested[key]
        if self._number(left) != key[0]:
            figures = replace(figures, low=-figures.high, high=-figures.low)
        return judged(left, right, self.metric, delta, figures, self.luck.get(left.run.data))


def _lists(entry: Entry, table: UserTable) -> bytes:
    """Return what is equal for rows that serve the same lists; of a row that recorded none, by its index."""
    if table.lists is not None:
        return table.lists.tobytes()
    is_exact = entry.figures.get(OF_THE_INDEX[0], 1.0) == 1.0
    return b"" if is_exact or not entry.trained else entry.name.encode()


def judged(
    left: Entry, right: Entry, metric: str, delta: float, tested: PairedTest, luck: Luck | None
) -> Difference:
    """Put a tested difference into words."""
    shown = tested.corrected <= ALPHA
    same = left.trained and right.trained and left.run.configuration == right.run.configuration
    if same and left.run.configuration:
        repeat = left.run.seed == right.run.seed
        words = (BY_REPEAT, REPEAT) if repeat else (BY_SEED, SEED_ONLY)
        return Difference(left, right, words[0] if shown else words[1], "", delta, tested)
    if not shown:
        return Difference(left, right, NONE_SHOWN, "", delta, tested)
    higher = direction_of(metric, (left, right))
    up, down = (HIGHER, LOWER) if higher is None else (BETTER, WORSE) if higher else (WORSE, BETTER)
    reason = "" if tested.with_seeds else _luck_of_the_seed(left, right, metric, delta, luck)
    return Difference(left, right, up if delta > 0 else down, reason, delta, tested)


def _luck_of_the_seed(left: Entry, right: Entry, metric: str, delta: float, luck: Luck | None) -> str:
    if luck is None:
        return ""
    # A baseline has no seed; a mean over n seeds varies with 1 / n.
    shares = sum(1 / len(entry.runs) for entry in (left, right) if entry.trained)
    if abs(delta) > luck.reach * (shares / 2) ** 0.5:
        return ""
    return f"within the luck of the seed: sd {written(metric, luck.sd)} over {luck.num_seeds} seeds"
