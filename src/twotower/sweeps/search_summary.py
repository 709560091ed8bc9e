"""What a search has found."""

import contextlib
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from twotower.sweeps.objectives import Objectives
from twotower.sweeps.proposals import copy_of
from twotower.sweeps.trials import ERROR, JOB, OVERRIDES, STATUS, Trials

ENOUGH_TO_RANK_KEYS = 10


def summary_of(trials: Trials, objectives: Objectives, fixed: Sequence[str]) -> dict[str, Any]:
    """Return the best trials, with what to type to train them again, and all others as plain values.

    Trials whose index was rejected are not among the best: they have no bundle to serve.

    Args:
        trials: of the study.
        objectives: of the search.
        fixed: overrides that hold for all jobs.
    """
    latest = sorted(trials.by_job().values(), key=lambda trial: str(trial.user_attrs[JOB]))
    usable = [
        trial
        for trial in latest
        if trial.state == TrialState.COMPLETE and trial.user_attrs.get(STATUS) != "index_rejected"
    ]
    return {
        "objectives": objectives,
        "num_trials": len(latest),
        "states": dict(Counter(trial.state.name.lower() for trial in latest)),
        "best": [
            _row(trial, objectives) | {"command": _command(trial, fixed)}
            for trial in best(usable, objectives)
        ],
        "importance": importance(trials.study, len(usable)),
        "trials": [_row(trial, objectives) for trial in latest],
    }


def best(trials: Sequence[FrozenTrial], objectives: Objectives) -> list[FrozenTrial]:
    """Return the trials that no other beats: the best one first, or the Pareto set by its first objective."""
    study = copy_of(trials, list(objectives.values()))
    kept = [trials[copy.number] for copy in study.best_trials] if trials else []
    first = next(iter(objectives.values()))
    kept.sort(key=lambda trial: trial.values, reverse=first == "maximize")
    return kept if len(objectives) > 1 else kept[:1]


def importance(study: optuna.Study, num_usable: int) -> dict[str, float]:
    """Return key -> its share in what makes trials good, the largest first; nothing while that is guesswork.

    Reference: Watanabe et al. 2023, "PED-ANOVA: efficiently quantifying hyperparameter importance in
    arbitrary subspaces".
    """
    if num_usable < ENOUGH_TO_RANK_KEYS or len(study.directions) > 1:
        return {}
    with contextlib.suppress(ValueError, RuntimeError):
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares: Mapping[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {key: round(share, 4) for key, share in shares.items()}
    return {}


def _row(trial: FrozenTrial, objectives: Objectives) -> dict[str, Any]:
    values = trial.values if trial.state == TrialState.COMPLETE else None
    return {
        "job": trial.user_attrs[JOB],
        "number": trial.number,
        "state": trial.state.name.lower(),
        "values": None if values is None else dict(zip(objectives, values, strict=True)),
        "overrides": trial.user_attrs[OVERRIDES],
        "error": trial.user_attrs.get(ERROR),
    }


def _command(trial: FrozenTrial, fixed: Sequence[str]) -> str:
    return shlex.join(["twotower", "train", *fixed, *trial.user_attrs[OVERRIDES]])
