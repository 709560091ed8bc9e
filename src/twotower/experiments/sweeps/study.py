"""The Optuna study of a search: space, journal file, trials, and their summary. Imports Optuna."""

import contextlib
import itertools
import math
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from twotower.config.errors import InputError
from twotower.config.problems import Problem, raise_problems
from twotower.experiments.sweeps.axis import Axis

Direction = Literal["maximize", "minimize"]
Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
JOURNAL, STUDY = "study.journal", "search"
JOB, OVERRIDES, STATUS, ERROR = "job", "overrides", "status", "error"
"""User attributes of a trial."""


class Space:
    """The space of a search.

    Listed numbers are searched by rank, so that 64 lies between 32 and 128. Other choices have no order. The
    order of the axes does not matter.

    Raises:
        InputError: an axis has no values to search.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        problems = (Problem(axis.key, text) for axis in axes if (text := _problem(axis)))
        raise_problems(problems, "the keys of this search")
        self.axes = sorted(axes, key=lambda axis: axis.key)
        found = {axis.key: _choices_and_distribution(axis) for axis in self.axes}
        self.choices = {key: choices for key, (choices, _) in found.items()}
        self.distributions = {key: distribution for key, (_, distribution) in found.items()}

    def texts(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the overrides of a trial's parameters."""
        return tuple(f"{key}={self._text(key, params[key])}" for key in self.distributions)

    def _text(self, key: str, value: Any) -> str:
        choices, each = self.choices[key], self.distributions[key]
        if isinstance(each, FloatDistribution):
            rounded = float(f"{value:.6g}")
            # 16.0, not 16, which an integer key would accept.
            return repr(rounded if each.low <= rounded <= each.high else min(max(value, each.low), each.high))
        return choices[value] if choices and isinstance(each, IntDistribution) else str(value)

    def corners(self) -> list[tuple[str, ...]]:
        """Return corners: each choice or end of one axis, and the first and the last of all axes."""
        ends = [
            each.choices if isinstance(each, CategoricalDistribution) else (each.low, each.high)
            for each in self.distributions.values()
        ]
        first, last = [each[0] for each in ends], [each[-1] for each in ends]
        single = [[*first[:axis], end, *first[axis + 1 :]] for axis, each in enumerate(ends) for end in each]
        params = (dict(zip(self.distributions, each, strict=True)) for each in [first, *single, last])
        return list(dict.fromkeys(map(self.texts, params)))

    def size(self) -> int | None:
        """Return the number of different trials; None if it is infinite."""
        values = self._values()
        return None if None in values else math.prod(len(each or ()) for each in values)

    def every(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters of every trial of a finite space; nothing of an infinite one."""
        for combination in itertools.product(*(each or () for each in self._values())):
            yield dict(zip(self.distributions, combination, strict=True))

    def _values(self) -> list[Sequence[Any] | None]:
        """Return all values of each key, None for an interval of floats."""
        return [
            self.choices[key]
            if isinstance(each, CategoricalDistribution)
            else range(each.low, each.high + 1)
            if isinstance(each, IntDistribution)
            else None
            for key, each in self.distributions.items()
        ]

    def record(self) -> dict[str, str]:
        """Return key -> text of the axis, for comparison with another space."""
        return {
            axis.key: ",".join(self.choices[axis.key]) or f"{'log ' * axis.is_log}interval{axis.interval}"
            for axis in self.axes
        }


def _problem(axis: Axis) -> str | None:
    if axis.key == "seed":
        return (
            "a search over seeds finds a lucky seed; search with one, then repeat the best trial with seeds=5"
        )
    if axis.choices:
        return None
    if axis.interval is None or not all(map(math.isfinite, axis.interval)):
        return "expected values or an interval with two ends, as in interval(0.1, 0.9)"
    low, high = axis.interval
    if low >= high:
        return f"the interval from {low} to {high} is empty; put the lower end first"
    if axis.is_log and low <= 0:
        return f"a logarithmic scale cannot contain {low}; start above 0"
    return None


def _choices_and_distribution(axis: Axis) -> tuple[tuple[str, ...], Distribution]:
    """Return the distinct choices, numbers in their order, and the distribution of choices or interval."""
    if axis.interval is not None:
        low, high = axis.interval
        if isinstance(low, int) and isinstance(high, int):
            return (), IntDistribution(low, high, log=axis.is_log)
        return (), FloatDistribution(low, high, log=axis.is_log)
    choices = tuple(dict.fromkeys(axis.choices))
    try:
        is_ranked = all(math.isfinite(float(text)) for text in choices)
    except ValueError:
        is_ranked = False
    if is_ranked:
        return tuple(sorted(choices, key=float)), IntDistribution(0, len(choices) - 1)
    return choices, CategoricalDistribution(choices)


class JournalStudy:
    """The study of a search, in a journal file that the workers of the search share; created if needed.

    `direction` is `maximize` or `minimize`.

    Raises:
        InputError: the journal is damaged.
    """

    def __init__(self, path: Path, direction: Direction) -> None:
        self.direction = direction
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(str(path))
        backend = JournalFileBackend(str(path), lock)
        lock.acquire()
        content = path.read_bytes()  # while no worker writes a line
        lock.release()
        try:
            if content and not content.endswith(b"\n"):  # Optuna would append to it
                raise ValueError("its last line is cut; delete that line, and the search continues")
            with quiet():
                self.storage = JournalStorage(backend)
                self.study = optuna.create_study(
                    storage=self.storage, study_name=STUDY, direction=direction, load_if_exists=True
                )
                _ = [trial.user_attrs[OVERRIDES] for trial in self.latest().values()]
        except Exception as error:  # any error, depending on what is damaged
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"{path}: damaged ({type(error).__name__}: {why}); restore the file from a copy, or start a "
                "new search with another name="
            ) from error

    def refuse_other_settings(self, settings: Mapping[str, Any]) -> None:
        """Record the settings of the search, or raise InputError if they differ from the recorded ones."""
        stored = self.study.user_attrs.get("settings")
        if stored is None:
            self.study.set_user_attr("settings", settings)
            return
        differing = [
            f"{key} was {stored.get(key, 'not set')!r}, is {settings.get(key, 'not set')!r}"
            for key in sorted(stored.keys() | settings.keys())
            if stored.get(key) != settings.get(key)
        ]
        if differing:
            raise InputError(
                f"this search has run with other settings: {'; '.join(differing[:5])}; restore them to "
                "continue it, or give this search another name="
            )

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, read from the journal."""
        return self.study.get_trials(deepcopy=False)

    def latest(self) -> dict[str, FrozenTrial]:
        """Return name of the job -> its latest trial; a retry of a failed trial is another trial."""
        return {trial.user_attrs[JOB]: trial for trial in self.trials()}

    def add(self, job: str, params: Mapping[str, Any], space: Space, overrides: Sequence[str]) -> FrozenTrial:
        """Add a running trial."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(space.distributions),
            user_attrs={JOB: job, OVERRIDES: list(overrides)},
        )
        self.study.add_trial(trial)
        return self.latest()[job]

    def end(self, number: int, status: str, value: float | None, error: str | None) -> None:
        """End a trial with the status, the monitored metric and the error of its run."""
        for key, text in ((STATUS, status), (ERROR, error)):
            self.storage.set_trial_user_attr(self.storage_id(number), key, text)
        failed = TrialState.PRUNED if status == "pruned" else TrialState.FAIL
        self.study.tell(number, value, failed if value is None else TrialState.COMPLETE)

    def storage_id(self, number: int) -> int:
        """Return the storage's id of a trial."""
        study_id = self.storage.get_study_id_from_name(STUDY)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def propose(self, sampler: Callable[[], BaseSampler], space: Space) -> dict[str, Any]:
        """Return the parameters of a new trial; drawn on a copy, so that no refused one is in the study."""
        with quiet():
            copy = optuna.create_study(direction=self.direction, sampler=sampler())
            copy.add_trials(self.trials())
            return copy.ask(dict(space.distributions)).params

    def summary(self, metric: str, fixed: Sequence[str]) -> dict[str, Any]:
        """Return all trials as plain values, and the best one with the command that trains it again.

        A trial with a rejected index is never the best. The command starts with the `fixed` overrides.
        """
        rows, usable = [], []
        for job, trial in sorted(self.latest().items()):
            row = {
                "job": job,
                "number": trial.number,
                "state": trial.state.name.lower(),
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                "overrides": trial.user_attrs[OVERRIDES],
                "error": trial.user_attrs.get(ERROR),
            }
            rows.append(row)
            if row["value"] is not None and trial.user_attrs[STATUS] != "index_rejected":
                usable.append(row)
        choose = max if self.direction == "maximize" else min
        best: dict[str, Any] | None = choose(usable, key=lambda row: row["value"], default=None)
        if best is not None:
            best = best | {"command": shlex.join(["twotower", "train", *fixed, *best["overrides"]])}
        return {
            "metric": metric,
            "direction": self.direction,
            "num_trials": len(rows),
            "states": dict(Counter(row["state"] for row in rows)),
            "best": best,
            "trials": rows,
        }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's log lines and experimental warnings."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        yield
