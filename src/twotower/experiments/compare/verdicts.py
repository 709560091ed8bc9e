"""Differences between the rows of the table and a baseline: paired tests, their correction, verdicts."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from twotower.evaluation.metrics.metric import Floats
from twotower.evaluation.power import (
    ALPHA,
    detectable_differences,
    detectable_errors,
    equivalence_p_values,
)
from twotower.evaluation.user_values import LIST_HASH
from twotower.experiments.compare.figure_names import format_figure, per_user_column
from twotower.experiments.compare.paired import (
    UnpairedError,
    difference_over_seeds,
    difference_over_users,
    holm,
    holm_levels,
    read_column,
    sign_flips,
    user_difference,
)
from twotower.experiments.compare.run_frame import MEASURED, UNREADABLE, data_difference, records
from twotower.experiments.runs.run_files import PER_USER, PER_USER_BASELINES

TOLERANCE = 1e-6
MAX_USERS = 1e12
"""Larger numbers of needed users are left out."""
BASELINE = "the baseline"
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"
EQUIVALENT = "equivalent"
"""No difference is shown, and two one-sided tests show that it is smaller than `min_effect`."""
HIGHER, LOWER = "higher", "lower"
"""Verdicts for a figure without a preferred direction."""
ONE_SEED = " (one seed)"
"""End of these verdicts if the test is over users only, because a side has one seed."""
SAME = "the same in every user"
SEED_ONLY, BY_SEED = "same configuration: seed only", "differs by seed"
REPEAT, BY_REPEAT = "same configuration and seed", "differs, though repeated"
NOT_COMPARABLE, NOT_TESTED, UNTESTED = "not comparable", "not tested", ""
POWER_COLUMNS = ["detectable_difference", "users_needed"]
NUMBERS = ["difference", "low", "high", "p_value", "corrected_p_value", *POWER_COLUMNS, "equivalence_p_value"]
DIFFERENCE_COLUMNS = [*NUMBERS, "verdict", "reason"]

Row = Mapping[str, Any]


class UserValues(NamedTuple):
    """Values [S, Q] of one row, a line per seed, for sorted users [Q]."""

    users: np.ndarray
    values: np.ndarray
    has_seed: bool
    """False for a baseline, which no seed changes."""
    content: tuple[bytes, ...]
    """Digests, equal for rows that serve the same lists."""


def add_verdicts(
    rows: pd.DataFrame,
    baseline: int | None,
    metric: str,
    higher_is_better: bool | None,
    noise: tuple[float, int] | None,
    tests: bool,
    min_effect: float | None = None,
) -> tuple[pd.DataFrame, int, int]:
    """Return the rows with `DIFFERENCE_COLUMNS`, and the number of tests and users.

    `difference` is row - baseline. Rows with the same per-user values are one test, however many names they
    have. `baseline` is the position of its row, and `noise` comes from `run_frame.seed_noise`.
    """
    table = records(rows)
    column = per_user_column(metric) if tests else None
    values = np.array([row.get(metric, np.nan) for row in table], dtype=float)
    difference = values - (np.nan if baseline is None else values[baseline])
    base: Row = {} if baseline is None else table[baseline]
    base_values = _read_user_values(base, column, metric) if base and column else ""
    lines: list[dict[str, Any]] = []
    to_test: dict[int, UserValues] = {}
    for at, row in enumerate(table):
        verdict, reason = UNTESTED, ""
        if at == baseline:
            verdict, difference[at] = BASELINE, np.nan
        elif row["state"] == UNREADABLE:
            verdict = UNREADABLE
        elif not base or row["state"] not in MEASURED:
            verdict = row["problem"]
        elif reason := data_difference(row, base):
            verdict, difference[at] = NOT_COMPARABLE, np.nan
        elif np.isnan(difference[at]):
            verdict, reason = NOT_TESTED, f"one of them has no {metric}"
        elif column is None:
            pass
        elif isinstance(own := _read_user_values(row, column, metric), str):
            verdict, reason = NOT_TESTED, own
        elif isinstance(base_values, str):
            verdict, reason = NOT_TESTED, f"{base['name']}: {base_values}"
        elif reason := user_difference(own.users, base_values.users):
            verdict, difference[at] = NOT_COMPARABLE, np.nan
        elif len(own.users) < 2:
            verdict, reason = NOT_TESTED, "only one user"
        elif own.content == base_values.content:
            verdict = SAME
        else:
            to_test[at] = own._replace(users=base_values.users)  # equal ones, which are kept once
        lines.append({"difference": difference[at], "verdict": verdict, "reason": reason})
    num_tests = num_users = 0
    if to_test and isinstance(base_values, UserValues):
        distinct = {own.content: own for own in to_test.values()}
        tested = dict(zip(distinct, _test(list(distinct.values()), base_values, min_effect), strict=True))
        num_tests, num_users = len(tested), len(base_values.users)
        for at, own in to_test.items():
            line, test = lines[at], tested[own.content]
            line |= test
            line["verdict"] = _verdict(line, table[at], base, higher_is_better)
            if line["verdict"] != NO_DIFFERENCE:
                line |= dict.fromkeys(POWER_COLUMNS, np.nan)
            if str(line["verdict"]).removesuffix(ONE_SEED) in (BETTER, WORSE, HIGHER, LOWER):
                sides = table[at], base
                warning = "" if test["with_seeds"] else _seed_warning(difference[at], sides, metric, noise)
                small = "smaller than min_effect" if line["equivalence_p_value"] <= ALPHA else ""
                line["reason"] = "; ".join(filter(None, (small, warning)))
    for line, row in zip(lines, table, strict=True):
        more = row["problem"] if row["problem"] != line["verdict"] else ""
        line["reason"] = "; ".join(filter(None, (line["reason"], more)))
    verdicts = pd.DataFrame(lines, columns=DIFFERENCE_COLUMNS).astype(dict.fromkeys(NUMBERS, float))
    verdicts["users_needed"] = whole_numbers(verdicts["users_needed"])
    return rows.join(verdicts), num_tests, num_users


def whole_numbers(column: pd.Series) -> pd.Series:
    """Return a column of integers and None, from floats and NaN."""
    numbers = column.astype("Int64").astype(object)
    return numbers.where(numbers.notna(), None)


def _test(sides: Sequence[UserValues], base: UserValues, min_effect: float | None) -> list[dict[str, Any]]:
    """Test rows against the baseline over the same users, and correct for the number of tests."""
    base_mean = base.values.mean(axis=0)
    differences = np.stack([side.values.mean(axis=0) - base_mean for side in sides])
    over_seeds = np.array([_has_seeds(side, base) for side in sides])
    found = [
        difference_over_seeds(side.values, base.values) if seeded else difference_over_users(paired)
        for side, paired, seeded in zip(sides, differences, over_seeds, strict=True)
    ]
    tests = pd.DataFrame(found).assign(with_seeds=over_seeds)
    flips = iter(sign_flips(differences[~over_seeds]))
    methods = [each if seeded else next(flips) for each, seeded in zip(found, over_seeds, strict=True)]
    tests["p_value"] = [method.p_value() for method in methods]
    tests["corrected_p_value"] = holm(tests["p_value"].to_numpy())
    levels = holm_levels(tests["corrected_p_value"].to_numpy())
    pairs = zip(methods, levels, strict=True)
    tests[["low", "high"]] = [method.interval(level) for method, level in pairs]
    tests["equivalence_p_value"] = np.nan
    if min_effect is not None:
        means, errors, freedoms = (tests[column].to_numpy() for column in ("mean", "error", "freedom"))
        tests["equivalence_p_value"] = holm(equivalence_p_values(means, errors, freedoms, min_effect))
    is_hidden = tests["corrected_p_value"].to_numpy() > ALPHA
    if is_hidden.any():
        tests.loc[is_hidden, POWER_COLUMNS] = _power(tests[is_hidden], differences[is_hidden])
    return records(tests)


def _has_seeds(side: UserValues, base: UserValues) -> bool:
    """Return whether each of the two that depends on a seed has several seeds, and one depends on it."""
    num_seeds = [len(each.values) for each in (side, base) if each.has_seed]
    return min(num_seeds, default=0) > 1


def _power(tests: pd.DataFrame, differences: Floats) -> Floats:
    """Return detectable difference and users needed [C, 2] of the C tests that show no difference.

    If k of m tests show a difference, Holm's method tests each of the others at .05 / (m - k).
    """
    level, num_users = ALPHA / len(tests), differences.shape[1]
    over_seeds = detectable_errors(tests["freedom"].to_numpy(), level) * tests["error"]
    over_users = detectable_differences(differences, num_users, level)
    detectable = np.where(tests["with_seeds"], over_seeds, over_users)
    # Users reduce their share of the squared error; the share of seeds remains.
    room = tests["mean"] ** 2 - (1 - tests["user_share"]) * detectable**2
    needed = num_users * tests["user_share"] * detectable**2 / room.where(room > 0)
    # A difference of 0 up to rounding would need more users than an integer holds.
    return np.column_stack([detectable, np.ceil(needed.where(needed < MAX_USERS))])


def _verdict(line: Row, row: Row, base: Row, higher_is_better: bool | None) -> str:
    """Return the verdict on a tested difference."""
    is_shown = line["corrected_p_value"] <= ALPHA
    is_trained = "baseline" not in (row["kind"], base["kind"])
    if is_trained and row["configuration"] and row["configuration"] == base["configuration"]:
        shown, not_shown = (BY_REPEAT, REPEAT) if row["seed"] == base["seed"] else (BY_SEED, SEED_ONLY)
        return shown if is_shown else not_shown
    if not is_shown:
        return EQUIVALENT if line["equivalence_p_value"] <= ALPHA else NO_DIFFERENCE
    end = ONE_SEED if not line["with_seeds"] and {row["kind"], base["kind"]} != {"baseline"} else ""
    if higher_is_better is None:
        return (HIGHER if line["difference"] > 0 else LOWER) + end
    return (BETTER if (line["difference"] > 0) == higher_is_better else WORSE) + end


def _seed_warning(
    difference: float, sides: tuple[Row, Row], metric: str, noise: tuple[float, int] | None
) -> str:
    """Return a warning if other seeds alone could cause a difference of this size."""
    # A baseline has no seed; the variance of a mean over n seeds is 1 / n.
    share = sum(1 / len(side["folders"]) for side in sides if side["kind"] != "baseline")
    if noise is None or abs(difference) > seed_reach(noise[0]) * (share / 2) ** 0.5:
        return ""
    sd, num_seeds = noise
    return f"within the variation over seeds: sd {format_figure(metric, sd)} over {num_seeds} seeds"


def seed_reach(sd: float) -> float:
    """Return two standard deviations of the difference of two single runs that differ in the seed alone."""
    return float(2 * (2 * sd**2) ** 0.5)


def _read_user_values(row: Row, column: str, metric: str) -> UserValues | str:
    """Read the values of one row; return the reason if it has none or its seeds have different users."""
    is_baseline = row["kind"] == "baseline"
    lists = []
    try:
        if is_baseline:
            users, values = read_column(Path(row["folder"]) / PER_USER_BASELINES, column, row["name"])
            stacked = values[None]
        else:
            hash_column = column.removesuffix(column.rpartition("/")[2]) + LIST_HASH
            read = {folder: read_column(Path(folder) / PER_USER, column) for folder in row["folders"]}
            users, _ = read[row["folder"]]
            for folder, (more_users, _) in read.items():
                if reason := user_difference(users, more_users):
                    return f"{folder}: {reason} than the configuration's first run"
                lists.append(_digest(read_column(Path(folder) / PER_USER, hash_column)[1]))
            stacked = np.stack([values for _, values in read.values()])
    except UnpairedError as error:
        return str(error)
    if abs(float(stacked.mean()) - row[metric]) > TOLERANCE:
        return f"its per-user values do not average to its {metric}"
    return UserValues(users, stacked, not is_baseline, (_digest(users), _digest(stacked), *lists))


def _digest(values: np.ndarray) -> bytes:
    """Return the SHA-256 of an array."""
    return hashlib.sha256(values.tobytes()).digest()
