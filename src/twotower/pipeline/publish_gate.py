"""The gate of a nightly update: a paired test of the new towers against the served towers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.evaluation.user_values import bootstrap_interval, metric_name
from twotower.reports.compare.paired import NUM_RESAMPLES, sign_flip_p_values
from twotower.reports.compare.per_user import UnpairedError, read_column, user_difference
from twotower.runs.result import read_finished_result
from twotower.runs.run import Run
from twotower.runs.run_files import PER_USER

SPLIT = "test/"


@dataclass(frozen=True)
class GateResult:
    """Comparison of two runs on the newest test window.

    Attributes:
        metric: name of the metric.
        old: mean over users, served towers.
        new: mean over users, new towers.
        low: lower bound of the 95 % bootstrap interval of new - old.
        high: upper bound.
        p_value: two-sided p of the paired sign-flip test.
        num_users: number of test users.
        num_differing: number of users with different values.
        passed: whether the new towers are not significantly worse.
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

    def message(self) -> str:
        """Return the result as one line."""
        end = "not significantly worse" if self.passed else "significantly worse"
        return (
            f"{self.metric} {self.old:.4f} -> {self.new:.4f}, difference {self.new - self.old:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}], p {self.p_value:.4f}, {self.num_users:,} users of whom "
            f"{self.num_differing:,} differ: {end}"
        )


def evaluate_gate(old: Path, new: Path, metric: str | None = None, alpha: float = 0.05) -> GateResult:
    """Compare two runs by the users of the test window, on which neither was trained.

    The new towers are refused if their mean is worse and p is below alpha. The test is a two-sided paired
    sign-flip test of the users' differences.

    Args:
        old: run of the served towers on the data of the new run.
        new: run of the new towers.
        metric: column of the per-user values; None selects the metric that the training monitors.
        alpha: significance level of a refusal.

    Raises:
        InputError: a run is not finished, the runs have different data, or lack values of the metric.

    Reference: Smucker et al. 2007, "A comparison of statistical significance tests for information retrieval
    evaluation".
    """
    results = [read_finished_result(run) for run in (old, new)]
    if results[0].data.fingerprint != results[1].data.fingerprint:
        raise InputError(f"{old} and {new}: evaluated on different data, so they cannot be compared")
    metric, higher = resolve_metric(new, metric)
    users, values = zip(*(_values(run, metric) for run in (old, new)), strict=True)
    if reason := user_difference(*users):
        raise InputError(f"{new}: {reason} than {old}")
    table = np.stack(values)
    difference = table[1] - table[0]
    ((low, high),) = bootstrap_interval(difference[:, None], NUM_RESAMPLES).tolist()
    p_value = float(sign_flip_p_values(difference[None])[0])
    before, after = table.mean(axis=1).tolist()
    is_worse = after < before if higher else after > before
    differing = int(np.count_nonzero(difference))
    passed = not (is_worse and p_value < alpha)
    return GateResult(metric, before, after, low, high, p_value, table.shape[1], differing, passed)


def resolve_metric(run: Path, metric: str | None) -> tuple[str, bool]:
    """Return the metric of the gate, by default the monitored metric, and whether higher is better.

    Raises:
        InputError: the run has no per-user values of the metric, or the metric has no preferred direction.
    """
    result = read_finished_result(run)
    if metric is None:
        trainer: Any = Run.open(run, None).settings.get("trainer", {})
        metric = str(trainer.get("monitor", "")).rpartition("/")[2]
    higher = result.higher_is_better.get(metric_name(f"{SPLIT}{metric}"))
    if higher is None or f"{SPLIT}{metric}" not in result.metrics:
        names = {key.removeprefix(SPLIT): metric_name(key) for key in result.metrics if key.startswith(SPLIT)}
        better = {key for key, name in names.items() if result.higher_is_better.get(name) is not None}
        raise InputError(
            f"metric={metric}: {run} has no metric of this name with a preferred direction; "
            f"{nearest(metric, better)}"
        )
    _values(run, metric)
    return metric, higher


def _values(run: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_column(run / PER_USER, metric)
    except UnpairedError as error:
        raise InputError(f"metric={metric}: {run}: {error}; name another, such as recall_at_20") from error
