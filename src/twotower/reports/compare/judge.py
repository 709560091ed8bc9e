"""All comparisons of a table at once: which can be tested, the tests, and the correction for their number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from twotower.reports.compare.comparable import not_comparable
from twotower.reports.compare.comparison import (
    NOT_COMPARABLE,
    NOT_TESTED,
    SAME,
    UNTESTED,
    Comparison,
    PairedTest,
    judged,
)
from twotower.reports.compare.entries import Entry
from twotower.reports.compare.metric import column_of
from twotower.reports.compare.paired import bootstrap_intervals, holm, sign_flip_p_values
from twotower.reports.compare.per_user import UnpairedError, UserTable, other_users, read_values
from twotower.reports.compare.seed_test import difference_over_seeds
from twotower.reports.compare.seeds import Luck

DIFFERS = 1e-6
Pair = tuple[Entry, Entry]
Key = tuple[int, int]
LuckOfData = Mapping[tuple[str, str], Luck | None]


@dataclass(frozen=True)
class Judgement:
    """The comparisons in the order asked, and how many tests they were corrected for."""

    comparisons: list[Comparison]
    num_tests: int
    num_users: int


class Judge:
    """Compares pairs of rows by one metric.

    Args:
        metric: the figure compared.
        tests: whether to test; else there are differences only.
        luck: for data (fingerprint, seen filter) what the seed alone changes there.
    """

    def __init__(self, metric: str, tests: bool, luck: LuckOfData) -> None:
        self.metric, self.luck = metric, luck
        self.column = column_of(metric)
        self.tests = tests and self.column is not None
        self.read: dict[int, UserTable | UnpairedError] = {}

    def judge(self, pairs: Sequence[Pair]) -> Judgement:
        """Compare each pair; pairs that are the same test under other names are tested and counted once."""
        untested = [self._untested(left, right) for left, right in pairs]
        waiting = [pair for pair, comparison in zip(pairs, untested, strict=True) if comparison is None]
        content = self._content({id(entry): entry for pair in waiting for entry in pair}.values())
        keys = {tuple(sorted((content[id(left)], content[id(right)]))) for left, right in waiting}
        tested = self._test(sorted((first, second) for first, second in keys if first != second))
        comparisons = [
            comparison or self._worded(*pair, content, tested)
            for pair, comparison in zip(pairs, untested, strict=True)
        ]
        num_users = max((len(self._table(entry).users) for pair in waiting for entry in pair), default=0)
        return Judgement(comparisons, len(tested), num_users)

    def _untested(self, left: Entry, right: Entry) -> Comparison | None:
        """Return the comparison of a pair that is not to be tested, None for one that is."""
        if reason := not_comparable(left, right):
            return Comparison(left, right, NOT_COMPARABLE, reason)
        if self.metric not in left.figures or self.metric not in right.figures:
            return Comparison(left, right, NOT_TESTED, f"one of them has no {self.metric}")
        delta = left.figures[self.metric] - right.figures[self.metric]
        if not self.tests:
            return Comparison(left, right, UNTESTED, "", delta)
        for entry in (left, right):
            try:
                self._table(entry)
            except UnpairedError as error:
                of = "" if entry is left else f"{entry.name}: "
                return Comparison(left, right, NOT_TESTED, f"{of}{error}", delta)
        users, others = self._table(left).users, self._table(right).users
        if reason := other_users(users, others):
            return Comparison(left, right, NOT_COMPARABLE, reason)
        return None if len(users) > 1 else Comparison(left, right, NOT_TESTED, "only one user", delta)

    def _table(self, entry: Entry) -> UserTable:
        if id(entry) not in self.read:
            try:
                self.read[id(entry)] = self._values(entry)
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

    def _content(self, entries: Iterable[Entry]) -> dict[int, int]:
        """Number the rows by the content of their values: rows of the same towers get the same number."""
        self.tables: list[UserTable] = []
        numbers: dict[tuple[bytes, bytes], int] = {}
        found = {}
        for entry in entries:
            table = self._table(entry)
            content = table.users.tobytes(), table.values.tobytes()
            if content not in numbers:
                numbers[content] = len(self.tables)
                self.tables.append(table)
            found[id(entry)] = numbers[content]
        return found

    def _test(self, keys: Sequence[Key]) -> dict[Key, PairedTest]:
        """Test pairs of contents, the lower number less the higher, and correct for how many they are."""
        tested: dict[Key, PairedTest] = {}
        by_users: dict[bytes, list[Key]] = {}
        for key in keys:
            left, right = (self.tables[number] for number in key)
            if left.seeds_known and right.seeds_known and (left.has_seed or right.has_seed):
                tested[key] = PairedTest(*difference_over_seeds(left.values, right.values), 1.0, True)
            else:
                by_users.setdefault(left.users.tobytes(), []).append(key)
        for group in by_users.values():
            tested |= self._test_users(group)
        corrected = holm(np.array([each.p_value for each in tested.values()]))
        return {
            key: replace(each, corrected=float(value))
            for (key, each), value in zip(tested.items(), corrected, strict=True)
        }

    def _test_users(self, keys: Sequence[Key]) -> dict[Key, PairedTest]:
        numbers = sorted({number for key in keys for number in key})
        values = np.stack([self.tables[number].values.mean(axis=0) for number in numbers])
        pairs = np.searchsorted(numbers, np.array(keys)).astype(np.intp)
        intervals, p_values = bootstrap_intervals(values, pairs), sign_flip_p_values(values, pairs)
        return {
            key: PairedTest(float(low), float(high), float(p_value), 1.0, False)
            for key, (low, high), p_value in zip(keys, intervals, p_values, strict=True)
        }

    def _worded(
        self, left: Entry, right: Entry, content: Mapping[int, int], tested: Mapping[Key, PairedTest]
    ) -> Comparison:
        first, second = content[id(left)], content[id(right)]
        delta = left.figures[self.metric] - right.figures[self.metric]
        if first == second:
            return Comparison(left, right, SAME, "", delta)
        figures = tested[min(first, second), max(first, second)]
        if first > second:
            figures = replace(figures, low=-figures.high, high=-figures.low)
        return judged(left, right, self.metric, delta, figures, self.luck.get(left.run.data))
