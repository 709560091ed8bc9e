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
from twotower.reports.compare.per_user import UnpairedError, other_users, read_column
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


class Differences(NamedTuple):
    """Differences left - right in the order of the pairs, and the size of the tests.

    Attributes:
        table: a row per pair; columns `left` and `right` (positions of rows), and `DIFFERENCE_COLUMNS`. The
            interval is of this difference alone; `corrected_p_value` is corrected for the number of tests.
        num_tests: how many different tests were made.
        num_users: users of the largest one.
    """

    table: pd.DataFrame
    num_tests: int
    num_users: int


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


def compare_pairs(
    rows: pd.DataFrame,
    pairs: Sequence[Pair],
    metric: str,
    higher_is_better: bool | None,
    noise: Noise = {},  # noqa: B006
    tests: bool = True,
) -> Differences:
    """Compare pairs of rows by one metric with paired tests over users.

    Rows with the same per-user values are one side of one test, however many names they have: the correction
    counts each test once.

    Args:
        rows: of the table, see `run_frame.read_runs`.
        pairs: positions (left, right) in `rows`.
        metric: a figure.
        higher_is_better: None if the metric has no preferred direction.
        noise: spread over seeds, by data.
        tests: whether to test; without, there are differences and no verdicts.
    """
    named = records(rows)
    column = per_user_column(metric)
    values: dict[int, UserValues] = {}
    problems: dict[int, str] = {}
    contents: list[UserValues] = []
    by_content: dict[tuple[bytes, ...], int] = {}
    numbers: dict[int, int] = {}
    found: dict[Pair, dict[str, Any]] = {}
    waiting: dict[Pair, Pair] = {}
    for pair in pairs:
        left, right = (named[position] for position in pair)
        if reason := data_difference(left, right):
            found[pair] = {"verdict": NOT_COMPARABLE, "reason": reason}
            continue
        difference = left.get(metric, np.nan) - right.get(metric, np.nan)
        found[pair] = {"verdict": UNTESTED, "reason": "", "difference": difference}
        if np.isnan(difference):
            found[pair] |= {"verdict": NOT_TESTED, "reason": f"one of them has no {metric}"}
        elif tests and column is not None:
            for position in pair:
                if position in values or position in problems:
                    continue
                try:
                    values[position] = _read_user_values(named[position], column, metric)
                except UnpairedError as error:
                    problems[position] = str(error)
            if problem := problems.get(pair[0]):
                found[pair] |= {"verdict": NOT_TESTED, "reason": problem}
            elif problem := problems.get(pair[1]):
                found[pair] |= {"verdict": NOT_TESTED, "reason": f"{right['name']}: {problem}"}
            elif reason := other_users(values[pair[0]].users, values[pair[1]].users):
                found[pair] = {"verdict": NOT_COMPARABLE, "reason": reason}
            elif len(values[pair[0]].users) < 2:
                found[pair] |= {"verdict": NOT_TESTED, "reason": "only one user"}
            else:
                for position in pair:
                    numbers[position] = by_content.setdefault(values[position].content, len(by_content))
                    if numbers[position] == len(contents):
                        contents.append(values[position])
                waiting[pair] = numbers[pair[0]], numbers[pair[1]]
    tested = _test(contents, sorted({(min(key), max(key)) for key in waiting.values() if key[0] != key[1]}))
    for pair, (first, second) in waiting.items():
        if first == second:
            found[pair]["verdict"] = SAME
            continue
        figures = dict(tested[min(first, second), max(first, second)])
        with_seeds = figures.pop("with_seeds")
        if first > second:
            figures |= {"low": -figures["high"], "high": -figures["low"]}
        left, right = (named[position] for position in pair)
        difference = found[pair]["difference"]
        verdict = _verdict(left, right, difference, figures["corrected_p_value"], higher_is_better)
        found[pair] |= figures | {"verdict": verdict}
        if verdict in (BETTER, WORSE, HIGHER, LOWER) and not with_seeds:
            of_data = noise.get((left["data"], left["seen_filter"]))
            found[pair]["reason"] = _seed_warning(metric, difference, (left, right), of_data)
    columns = ["left", "right", *DIFFERENCE_COLUMNS]
    table = pd.DataFrame(
        [{"left": left, "right": right, **found[left, right]} for left, right in pairs], columns=columns
    )
    table = table.astype(dict.fromkeys(["difference", *TEST_COLUMNS], float))
    num_users = max((len(contents[number].users) for key in waiting.values() for number in key), default=0)
    return Differences(table, len(tested), num_users)


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
            if reason := other_users(users, more_users):
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


def _test(contents: Sequence[UserValues], keys: Sequence[Pair]) -> dict[Pair, dict[str, Any]]:
    """Test pairs of contents, first less second, and correct for how many they are."""
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
    return tested


def _verdict(
    left: Row, right: Row, difference: float, corrected_p_value: float, higher_is_better: bool | None
) -> str:
    """Return the verdict on a tested difference left - right."""
    is_shown = corrected_p_value <= ALPHA
    trained = "baseline" not in (left["kind"], right["kind"])
    if trained and left["configuration"] and left["configuration"] == right["configuration"]:
        is_repeat = left["seed"] == right["seed"]
        shown, not_shown = (BY_REPEAT, REPEAT) if is_repeat else (BY_SEED, SEED_ONLY)
        return shown if is_shown else not_shown
    if not is_shown:
        return NO_DIFFERENCE
    if higher_is_better is None:
        return HIGHER if difference > 0 else LOWER
    return BETTER if (difference > 0) == higher_is_better else WORSE


def _seed_warning(
    metric: str, difference: float, sides: Sequence[Row], of_data: tuple[float, int] | None
) -> str:
    """Return a warning if other seeds alone could cause a difference of this size."""
    if of_data is None:
        return ""
    sd, num_seeds = of_data
    # A baseline has no seed; the variance of a mean over n seeds is 1 / n.
    share = sum(1 / len(side["folders"]) for side in sides if side["kind"] != "baseline")
    if abs(difference) > seed_reach(sd) * (share / 2) ** 0.5:
        return ""
    return f"within the variation over seeds: sd {format_figure(metric, sd)} over {num_seeds} seeds"


def seed_reach(sd: float) -> float:
    """Return two standard deviations of the difference of two single runs that differ in the seed alone."""
    return float(2 * (2 * sd**2) ** 0.5)
