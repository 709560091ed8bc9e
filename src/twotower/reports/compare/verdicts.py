"""Differences between rows of the table: paired tests, their correction, and the verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from twotower.evaluation.user_values import LIST_HASH
from twotower.reports.compare.figure_names import INDEX_COLUMNS, format_figure, per_user_column
from twotower.reports.compare.paired import (
    bootstrap_intervals,
    difference_over_seeds,
    holm,
    sign_flip_p_values,
)
from twotower.reports.compare.per_user import UnpairedError, read_column, user_difference
from twotower.reports.compare.run_frame import records
from twotower.reports.compare.run_groups import data_difference
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES

ALPHA = 0.05
TOLERANCE = 1e-6
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"
HIGHER, LOWER = "higher", "lower"
"""Verdicts for a figure without a preferred direction."""
SAME = "the same in every user"
SEED_ONLY, BY_SEED = "same configuration: seed only", "differs by seed"
REPEAT, BY_REPEAT = "same configuration and seed", "differs, though repeated"
NOT_COMPARABLE, NOT_TESTED, UNTESTED = "not comparable", "not tested", ""
TEST_COLUMNS = ("low", "high", "p_value", "corrected_p_value")
DIFFERENCE_COLUMNS = ("difference", *TEST_COLUMNS, "verdict", "reason")

Noise = Mapping[tuple[str, str], tuple[float, int]]
"""(data, seen_filter) -> standard deviation over seeds, number of seeds; see `run_groups.seed_noise`."""
Pair = tuple[int, int]
Row = Mapping[str, Any]


class UserValues(NamedTuple):
    """Values of one row by sorted user.

    Attributes:
        users: [Q].
        values: [S, Q], a line per seed.
        has_seed: False for a baseline, which no seed changes.
        content: equal for rows that serve the same lists.
    """

    users: np.ndarray
    values: np.ndarray
    has_seed: bool
    content: tuple[bytes, ...]


class PairedComparison:
    """Compares rows of a table by one metric with paired tests over users.

    Rows with the same per-user values are one side of one test, however many names they have: the correction
    for multiple tests counts each test once.

    Args:
        rows: the table, see `run_frame.read_runs`.
        metric: a figure.
        higher_is_better: None if the metric has no preferred direction.
        noise: spread over seeds, by data.
        tests: whether to test; without, there are differences and no verdicts.

    Attributes:
        num_tests: number of different tests of `compare`.
        num_users: users of the largest one.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        metric: str,
        higher_is_better: bool | None,
        noise: Noise | None = None,
        tests: bool = True,
    ) -> None:
        self.rows, self.metric, self.higher_is_better = records(rows), metric, higher_is_better
        self.noise = noise or {}
        self.column = per_user_column(metric) if tests else None
        self.values: dict[int, UserValues | UnpairedError] = {}
        self.contents: dict[tuple[bytes, ...], int] = {}
        self.num_tests = self.num_users = 0

    def compare(self, pairs: Sequence[Pair]) -> pd.DataFrame:
        """Return the differences left - right of pairs of positions, in their order.

        The columns are `left`, `right` and `DIFFERENCE_COLUMNS`. The interval is of this difference alone;
        `corrected_p_value` is corrected for the number of tests of all pairs.
        """
        lines = [self._untested(*pair) for pair in pairs]
        sides = [None if line["verdict"] is not None else self._sides(line) for line in lines]
        tested = self._test(sorted({(min(key), max(key)) for key in sides if key and key[0] != key[1]}))
        for line, key in zip(lines, sides, strict=True):
            if key is not None and key[0] == key[1]:
                line["verdict"] = SAME
            elif key is not None:
                figures = dict(tested[min(key), max(key)])
                if key[0] > key[1]:
                    figures |= {"low": -figures["high"], "high": -figures["low"]}
                line |= figures
                line["verdict"] = self._verdict(line)
                if line["verdict"] in (BETTER, WORSE, HIGHER, LOWER) and not line["with_seeds"]:
                    line["reason"] = self._seed_warning(line)
        table = pd.DataFrame(lines, columns=["left", "right", *DIFFERENCE_COLUMNS])
        return table.astype(dict.fromkeys(["difference", *TEST_COLUMNS], float))

    def _untested(self, left: int, right: int) -> dict[str, Any]:
        """Return a pair with its difference, and the verdict if it cannot be tested; else None."""
        line: dict[str, Any] = {"left": left, "right": right, "verdict": NOT_COMPARABLE, "reason": ""}
        one, other = self.rows[left], self.rows[right]
        if reason := data_difference(one, other):
            return line | {"reason": reason}
        line["difference"] = one.get(self.metric, np.nan) - other.get(self.metric, np.nan)
        if np.isnan(line["difference"]):
            return line | {"verdict": NOT_TESTED, "reason": f"one of them has no {self.metric}"}
        if self.column is None:
            return line | {"verdict": UNTESTED}
        mine, others = self._user_values(left), self._user_values(right)
        if isinstance(mine, UnpairedError):
            return line | {"verdict": NOT_TESTED, "reason": str(mine)}
        if isinstance(others, UnpairedError):
            return line | {"verdict": NOT_TESTED, "reason": f"{other['name']}: {others}"}
        if reason := user_difference(mine.users, others.users):
            return line | {"difference": np.nan, "reason": reason}
        if len(mine.users) < 2:
            return line | {"verdict": NOT_TESTED, "reason": "only one user"}
        return line | {"verdict": None}

    def _user_values(self, position: int) -> UserValues | UnpairedError:
        """Return the values of a row, or why it has none."""
        if position not in self.values:
            assert self.column is not None
            try:
                self.values[position] = _read_user_values(self.rows[position], self.column, self.metric)
            except UnpairedError as error:
                self.values[position] = error
        return self.values[position]

    def _sides(self, line: Mapping[str, Any]) -> Pair:
        """Return the numbers of the contents of a pair."""
        left, right = (self.values[line[side]] for side in ("left", "right"))
        assert isinstance(left, UserValues)
        assert isinstance(right, UserValues)
        self.num_users = max(self.num_users, len(left.users))
        first = self.contents.setdefault(left.content, len(self.contents))
        return first, self.contents.setdefault(right.content, len(self.contents))

    def _test(self, keys: Sequence[Pair]) -> dict[Pair, dict[str, Any]]:
        """Test pairs of contents, first less second, and correct for their number."""
        contents = {
            self.contents[each.content]: each
            for each in self.values.values()
            if isinstance(each, UserValues) and each.content in self.contents
        }
        tested: dict[Pair, dict[str, Any]] = {}
        by_users: dict[bytes, list[Pair]] = {}
        for key in keys:
            left, right = (contents[number] for number in key)
            seeds_known = all(len(side.values) > 1 or not side.has_seed for side in (left, right))
            if seeds_known and (left.has_seed or right.has_seed):
                low, high, p_value = difference_over_seeds(left.values, right.values)
                tested[key] = {"low": low, "high": high, "p_value": p_value, "with_seeds": True}
            else:
                by_users.setdefault(left.users.tobytes(), []).append(key)
        for group in by_users.values():
            numbers = sorted({number for key in group for number in key})
            values = np.stack([contents[number].values.mean(axis=0) for number in numbers])
            pairs = np.searchsorted(numbers, np.array(group)).astype(np.intp)
            intervals, p_values = bootstrap_intervals(values, pairs), sign_flip_p_values(values, pairs)
            for key, (low, high), p_value in zip(group, intervals.tolist(), p_values.tolist(), strict=True):
                tested[key] = {"low": low, "high": high, "p_value": p_value, "with_seeds": False}
        corrected = holm(np.array([each["p_value"] for each in tested.values()]))
        for each, value in zip(tested.values(), corrected.tolist(), strict=True):
            each["corrected_p_value"] = value
        self.num_tests = len(tested)
        return tested

    def _verdict(self, line: Mapping[str, Any]) -> str:
        """Return the verdict on a tested difference."""
        is_shown = line["corrected_p_value"] <= ALPHA
        left, right = self.rows[line["left"]], self.rows[line["right"]]
        is_trained = "baseline" not in (left["kind"], right["kind"])
        if is_trained and left["configuration"] and left["configuration"] == right["configuration"]:
            is_repeat = left["seed"] == right["seed"]
            shown, not_shown = (BY_REPEAT, REPEAT) if is_repeat else (BY_SEED, SEED_ONLY)
            return shown if is_shown else not_shown
        if not is_shown:
            return NO_DIFFERENCE
        if self.higher_is_better is None:
            return HIGHER if line["difference"] > 0 else LOWER
        return BETTER if (line["difference"] > 0) == self.higher_is_better else WORSE

    def _seed_warning(self, line: Mapping[str, Any]) -> str:
        """Return a warning if other seeds alone could cause a difference of this size."""
        sides = self.rows[line["left"]], self.rows[line["right"]]
        sd, num_seeds = self.noise.get((sides[0]["data"], sides[0]["seen_filter"]), (0.0, 0))
        # A baseline has no seed; the variance of a mean over n seeds is 1 / n.
        share = sum(1 / len(side["folders"]) for side in sides if side["kind"] != "baseline")
        if not num_seeds or abs(line["difference"]) > seed_reach(sd) * (share / 2) ** 0.5:
            return ""
        spread = f"sd {format_figure(self.metric, sd)} over {num_seeds} seeds"
        return f"within the variation over seeds: {spread}"


def _read_user_values(row: Row, column: str, metric: str) -> UserValues:
    """Read the values of one row. Raises UnpairedError: it has none, or its seeds have different users."""
    first, *others = [f"{folder}/{PER_USER}" for folder in row["folders"]]
    if row["kind"] == "baseline":
        users, values = read_column(f"{row['folder']}/{PER_USER_BASELINES}", column, baseline=row["name"])
        stacked = values[None]
    else:
        users, values = read_column(first, column)
        stacked_values = [values]
        for path in others:
            more_users, more = read_column(path, column)
            if reason := user_difference(users, more_users):
                folder = path.removesuffix(f"/{PER_USER}")
                raise UnpairedError(f"{folder}: {reason} than the configuration's first run")
            stacked_values.append(more)
        stacked = np.stack(stacked_values)
    if abs(float(stacked.mean()) - row[metric]) > TOLERANCE:
        raise UnpairedError(f"its per-user values do not average to its {metric}")
    lists = b""
    if row["kind"] != "baseline":
        hash_column = column.removesuffix(column.rpartition("/")[2]) + LIST_HASH
        try:
            lists = b"".join(read_column(path, hash_column)[1].tobytes() for path in (first, *others))
        except UnpairedError:  # a run without hashes: an approximate index serves lists of its own
            recall = row.get(INDEX_COLUMNS[0], np.nan)
            lists = b"" if np.isnan(recall) or recall == 1 else str(row["name"]).encode()
    content = users.tobytes(), stacked.tobytes(), lists
    return UserValues(users, stacked, row["kind"] != "baseline", content)


def seed_reach(sd: float) -> float:
    """Return two standard deviations of the difference of two single runs that differ in the seed alone."""
    return float(2 * (2 * sd**2) ** 0.5)
