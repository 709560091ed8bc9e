"""Differences between rows of the table: paired tests, their correction, and the verdicts."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from twotower.evaluation.user_values import LIST_HASH, bootstrap_interval
from twotower.reports.compare.figure_names import format_figure, per_user_column
from twotower.reports.compare.paired import NUM_RESAMPLES, difference_over_seeds, holm, sign_flip_p_values
from twotower.reports.compare.per_user import UnpairedError, read_column, user_difference
from twotower.reports.compare.run_frame import data_difference, records
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


class Differences(NamedTuple):
    """A row per pair with `left`, `right` and `DIFFERENCE_COLUMNS`, and the number of tests and users.

    An interval is of its difference alone; `corrected_p_value` is corrected for the number of tests.
    """

    table: pd.DataFrame
    num_tests: int
    num_users: int


def compare_pairs(
    table: pd.DataFrame,
    pairs: Sequence[tuple[int, int]],
    metric: str,
    higher_is_better: bool | None,
    noise: Mapping[str, tuple[float, int]] | None = None,
    tests: bool = True,
) -> Differences:
    """Return the differences left - right of pairs of rows, with paired tests over users.

    Rows with the same per-user values are one side of one test, however many names they have: the correction
    for multiple tests counts each test once.

    Args:
        table: see `run_frame.read_runs`.
        pairs: positions of rows; all pairs have one row in common.
        metric: a figure.
        higher_is_better: None if the metric has no preferred direction.
        noise: see `run_frame.seed_noise`.
        tests: whether to test; without, there are differences and no verdicts.
    """
    rows = records(table)
    column = per_user_column(metric) if tests else None

    @cache
    def read(position: int) -> UserValues | UnpairedError:
        try:
            return _read_user_values(rows[position], column or "", metric)
        except UnpairedError as error:
            return error

    lines: list[dict[str, Any]] = []
    sides: dict[tuple[tuple[bytes, ...], ...], tuple[UserValues, UserValues]] = {}
    for left, right in pairs:
        difference = rows[left].get(metric, np.nan) - rows[right].get(metric, np.nan)
        line: dict[str, Any] = {"left": left, "right": right, "difference": difference, "reason": ""}
        lines.append(line)
        if reason := data_difference(rows[left], rows[right]):
            line |= {"difference": np.nan, "verdict": NOT_COMPARABLE, "reason": reason}
        elif np.isnan(difference):
            line |= {"verdict": NOT_TESTED, "reason": f"one of them has no {metric}"}
        elif column is None:
            line["verdict"] = UNTESTED
        elif isinstance(one := read(left), UnpairedError):
            line |= {"verdict": NOT_TESTED, "reason": str(one)}
        elif isinstance(other := read(right), UnpairedError):
            line |= {"verdict": NOT_TESTED, "reason": f"{rows[right]['name']}: {other}"}
        elif reason := user_difference(one.users, other.users):
            line |= {"difference": np.nan, "verdict": NOT_COMPARABLE, "reason": reason}
        elif len(one.users) < 2:
            line |= {"verdict": NOT_TESTED, "reason": "only one user"}
        elif one.content == other.content:
            line["verdict"] = SAME
        else:
            line["test"] = one.content, other.content
            sides[line["test"]] = one, other
    tested = dict(zip(sides, _test(list(sides.values())), strict=True))
    for line in lines:
        if "test" in line:
            test, both = tested[line["test"]], (rows[line["left"]], rows[line["right"]])
            line |= test
            line["verdict"] = _verdict(line, *both, higher_is_better)
            if line["verdict"] in (BETTER, WORSE, HIGHER, LOWER) and not test["with_seeds"]:
                line["reason"] = _seed_warning(line["difference"], both, metric, noise or {})
    frame = pd.DataFrame(lines, columns=["left", "right", *DIFFERENCE_COLUMNS])
    frame = frame.astype(dict.fromkeys(["difference", *TEST_COLUMNS], float))
    return Differences(frame, len(tested), max((len(one.users) for one, _ in sides.values()), default=0))


def _test(sides: Sequence[tuple[UserValues, UserValues]]) -> list[dict[str, Any]]:
    """Test pairs over the same users, and correct for their number."""
    tested: list[dict[str, Any]] = [{} for _ in sides]
    over_users = []
    for at, pair in enumerate(sides):
        seeded = [side for side in pair if side.has_seed]
        if seeded and all(len(side.values) > 1 for side in seeded):
            low, high, p_value = difference_over_seeds(pair[0].values, pair[1].values)
            tested[at] = {"low": low, "high": high, "p_value": p_value, "with_seeds": True}
        else:
            over_users.append(at)
    if over_users:
        pairs = (sides[at] for at in over_users)
        differences = np.stack([one.values.mean(axis=0) - other.values.mean(axis=0) for one, other in pairs])
        intervals = bootstrap_interval(differences.T, NUM_RESAMPLES)
        p_values = sign_flip_p_values(differences)
        for at, (low, high), p_value in zip(over_users, intervals.tolist(), p_values.tolist(), strict=True):
            tested[at] = {"low": low, "high": high, "p_value": p_value, "with_seeds": False}
    corrected = holm(np.array([each["p_value"] for each in tested]))
    return [
        each | {"corrected_p_value": value} for each, value in zip(tested, corrected.tolist(), strict=True)
    ]


def _verdict(line: Row, left: Row, right: Row, higher_is_better: bool | None) -> str:
    """Return the verdict on a tested difference."""
    is_shown = line["corrected_p_value"] <= ALPHA
    is_trained = "baseline" not in (left["kind"], right["kind"])
    if is_trained and left["configuration"] and left["configuration"] == right["configuration"]:
        is_repeat = left["seed"] == right["seed"]
        shown, not_shown = (BY_REPEAT, REPEAT) if is_repeat else (BY_SEED, SEED_ONLY)
        return shown if is_shown else not_shown
    if not is_shown:
        return NO_DIFFERENCE
    if higher_is_better is None:
        return HIGHER if line["difference"] > 0 else LOWER
    return BETTER if (line["difference"] > 0) == higher_is_better else WORSE


def _seed_warning(
    difference: float, sides: tuple[Row, Row], metric: str, noise: Mapping[str, tuple[float, int]]
) -> str:
    """Return a warning if other seeds alone could cause a difference of this size."""
    sd, num_seeds = noise.get(sides[0]["data"], (0.0, 0))
    # A baseline has no seed; the variance of a mean over n seeds is 1 / n.
    share = sum(1 / len(side["folders"]) for side in sides if side["kind"] != "baseline")
    if not num_seeds or abs(difference) > seed_reach(sd) * (share / 2) ** 0.5:
        return ""
    return f"within the variation over seeds: sd {format_figure(metric, sd)} over {num_seeds} seeds"


def _read_user_values(row: Row, column: str, metric: str) -> UserValues:
    """Read the values of one row. Raises UnpairedError: it has none, or its seeds have different users."""
    lists = []
    if row["kind"] == "baseline":
        users, values = read_column(Path(row["folder"]) / PER_USER_BASELINES, column, row["name"])
        stacked = values[None]
    else:
        hash_column = column.removesuffix(column.rpartition("/")[2]) + LIST_HASH
        read = {folder: read_column(Path(folder) / PER_USER, column) for folder in row["folders"]}
        users, _ = read[row["folder"]]
        for folder, (more_users, _) in read.items():
            if reason := user_difference(users, more_users):
                raise UnpairedError(f"{folder}: {reason} than the configuration's first run")
            lists.append(read_column(Path(folder) / PER_USER, hash_column)[1].tobytes())
        stacked = np.stack([values for _, values in read.values()])
    if abs(float(stacked.mean()) - row[metric]) > TOLERANCE:
        raise UnpairedError(f"its per-user values do not average to its {metric}")
    content = users.tobytes(), stacked.tobytes(), *lists
    return UserValues(users, stacked, row["kind"] != "baseline", content)


def seed_reach(sd: float) -> float:
    """Return two standard deviations of the difference of two single runs that differ in the seed alone."""
    return float(2 * (2 * sd**2) ** 0.5)
