"""Whether new towers may take the place of those that are served: a paired test over the same users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.evaluation.user_values import name_of
from twotower.reports.compare.paired import bootstrap_intervals, sign_flip_p_values
from twotower.reports.compare.per_user import UnpairedError, other_users, read_column
from twotower.runs.result import Result, read_result
from twotower.runs.run import Run
from twotower.runs.run_files import PER_USER

SPLIT = "test/"


@dataclass(frozen=True)
class Verdict:
    """How two runs did on the newest window, and whether the new one may be published.

    Attributes:
        metric: of the users' values.
        old: mean over users of the towers that are served.
        new: mean over users of the new ones.
        low: of the 95 % bootstrap interval of new - old.
        high: of it.
        p_value: two-sided, of the paired sign-flip test.
        num_users: that were asked for.
        num_differing: of these, for whom the two differ.
        passed: not significantly worse.
    """

    metric: str
    old: float
    new: float
    low: float
    high: float
    p_value: float
    num_users: int
    num_differing: int
    passed: bool

    def told(self) -> str:
        """Return a line for people."""
        end = "not significantly worse" if self.passed else "significantly worse"
        return (
            f"{self.metric} {self.old:.4f} -> {self.new:.4f}, difference {self.new - self.old:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}], p {self.p_value:.4f}, {self.num_users:,} users of whom "
            f"{self.num_differing:,} differ: {end}"
        )


def judge(old: Path, new: Path, metric: str | None = None, alpha: float = 0.05) -> Verdict:
    """Compare two runs over the users of the test window, which neither was trained on.

    The new towers are refused where their mean is on the worse side and p is below alpha: a paired test by
    flipping the signs of the users' differences, two-sided (Smucker et al. 2007; see `reports.compare`).

    Args:
        old: run of the towers that are served, with the data of the new one.
        new: run of the others.
        metric: column of the users' values; None for the one that the training monitors.
        alpha: how sure the test must be to refuse.

    Raises:
        InputError: one of them has not ended, they were judged on different data, or have no such values.
    """
    results = [_result(run) for run in (old, new)]
    if results[0].data.fingerprint != results[1].data.fingerprint:
        raise InputError(
            f"{old} and {new}: judged on different data, so nothing can be said of their difference"
        )
    metric, higher = metric_of(new, metric)
    users, values = zip(*(_values(run, metric) for run in (old, new)), strict=True)
    if reason := other_users(*users):
        raise InputError(f"{new}: {reason} than {old}")
    table = np.stack(values)
    pair = np.array([[1, 0]])
    ((low, high),) = bootstrap_intervals(table, pair).tolist()
    p_value = float(sign_flip_p_values(table, pair)[0])
    before, after = table.mean(axis=1).tolist()
    is_worse = after < before if higher else after > before
    differing = int((table[0] != table[1]).sum())
    passed = not (is_worse and p_value < alpha)
    return Verdict(metric, before, after, low, high, p_value, table.shape[1], differing, passed)


def metric_of(run: Path, metric: str | None) -> tuple[str, bool]:
    """Return the metric that a gate looks at, and which way is better; None is the one of the training.

    Raises:
        InputError: the users of the run have no such value, or none of its values is better than another.
    """
    result = _result(run)
    metric = metric or _monitored(run)
    higher = result.higher_is_better.get(name_of(f"{SPLIT}{metric}"))
    if higher is None or f"{SPLIT}{metric}" not in result.metrics:
        names = {key.removeprefix(SPLIT): name_of(key) for key in result.metrics if key.startswith(SPLIT)}
        better = {key for key, name in names.items() if result.higher_is_better.get(name) is not None}
        raise InputError(f"metric={metric}: none of {run} that is better or worse; {nearest(metric, better)}")
    _values(run, metric)
    return metric, higher


def _values(run: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_column(run / PER_USER, metric)
    except UnpairedError as error:
        raise InputError(f"metric={metric}: {run}: {error}; name another, such as recall_at_20") from error


def _result(run: Path) -> Result:
    result = read_result(run)
    if result is None or not result.finished:
        raise InputError(f"{run}: this run has not ended, so nothing can be said of it")
    return result


def _monitored(run: Path) -> str:
    trainer: Any = Run.open(run, None).settings.get("trainer", {})
    return str(trainer.get("monitor", "")).rpartition("/")[2]
