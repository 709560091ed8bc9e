"""Proposals of the next trial, drawn by Optuna on a copy of the study, which holds no refused ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from twotower.config.errors import InputError
from twotower.sweeps.objectives import Direction
from twotower.sweeps.space import Space

ATTEMPTS = 100
T = TypeVar("T")


class ExhaustedError(InputError):
    """No valid and new configuration was drawn in `ATTEMPTS` proposals."""


def propose(
    space: Space,
    trials: Sequence[FrozenTrial],
    directions: Sequence[Direction],
    sampler: Callable[[int], BaseSampler],
    seed: int,
    accept: Callable[[Mapping[str, Any]], T | None],
) -> tuple[dict[str, Any], T]:
    """Return the parameters of the next trial, and the result of `accept` for them.

    They depend only on the seed and the earlier trials, so a killed search continues as if uninterrupted, and
    two processes never draw the same numbers. The sampler sees all trials, not one bracket of Hyperband.

    Args:
        space: search space.
        trials: earlier trials, in order.
        directions: directions of the objectives.
        sampler: seed -> sampler.
        seed: seed of the search.
        accept: parameters -> result, None to refuse them.

    Raises:
        ExhaustedError: no proposal was accepted.
    """
    distributions = space.distributions()
    for attempt in range(ATTEMPTS):
        drawn = np.random.SeedSequence([seed, len(trials), attempt]).generate_state(1)
        params = copy_study(trials, directions, sampler(int(drawn[0]))).ask(distributions).params
        if (accepted := accept(params)) is not None:
            return params, accepted
    for params in space.every() if space.size() is not None else ():
        if (accepted := accept(params)) is not None:
            return params, accepted
    raise ExhaustedError(
        f"none of {ATTEMPTS} proposals in a row is a valid new configuration; check which values fit "
        "together, or lower sweep.num_trials"
    )


def copy_study(
    trials: Sequence[FrozenTrial], directions: Sequence[Direction], sampler: BaseSampler | None = None
) -> optuna.Study:
    """Return an in-memory study with the same trials."""
    study = optuna.create_study(directions=list(directions), sampler=sampler)
    study.add_trials(trial for trial in trials if trial.state != TrialState.WAITING)
    return study
