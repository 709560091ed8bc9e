"""The next trial of a search, asked of Optuna on a copy of the study: what is refused is never in it."""

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
    """No sound configuration is left that was not tried, as far as can be told."""


def propose(
    space: Space,
    trials: Sequence[FrozenTrial],
    directions: Sequence[Direction],
    sampler: Callable[[int], BaseSampler],
    seed: int,
    accept: Callable[[Mapping[str, Any]], T | None],
) -> tuple[dict[str, Any], T]:
    """Return the parameters of the next trial, and what `accept` made of them.

    They follow from the seed and the trials so far alone: a search that was killed goes on as it would have,
    and two processes never draw the same numbers. The sampler sees all trials: Hyperband's brackets would
    leave it a few each.

    Args:
        space: of the search.
        trials: so far, in order.
        directions: of the objectives.
        sampler: seed -> a sampler.
        seed: of the search.
        accept: is given parameters; returns None to refuse them.

    Raises:
        ExhaustedError: nothing acceptable was found.
    """
    distributions = space.distributions()
    for attempt in range(ATTEMPTS):
        drawn = np.random.SeedSequence([seed, len(trials), attempt]).generate_state(1)
        params = copy_of(trials, directions, sampler(int(drawn[0]))).ask(distributions).params
        if (accepted := accept(params)) is not None:
            return params, accepted
    for params in space.every() if space.size() is not None else ():
        if (accepted := accept(params)) is not None:
            return params, accepted
    raise ExhaustedError(
        f"none of {ATTEMPTS} proposals in a row makes a sound configuration that was not tried before; check "
        "what varies together, or ask for fewer trials"
    )


def copy_of(
    trials: Sequence[FrozenTrial], directions: Sequence[Direction], sampler: BaseSampler | None = None
) -> optuna.Study:
    """Return a study in memory with the same trials."""
    study = optuna.create_study(directions=list(directions), sampler=sampler)
    study.add_trials(trial for trial in trials if trial.state != TrialState.WAITING)
    return study
