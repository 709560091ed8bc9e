"""Summary of a search."""

import contextlib
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from twotower.sweeps.objectives import Objectives
from twotower.sweeps.study import ERROR, JOB, OVERRIDES, STATUS, SharedStudy, copy_study

MIN_TRIALS_FOR_IMPORTANCE = 10


def summarize_search(shared: SharedStudy, objectives: Objectives, fixed: Sequence[str]) -> dict[str, Any]:
    """Return the best trials with the commands that train them again, and all trials as plain values.

    The best trials exclude those with a rejected index.

    Args:
        shared: study of the search.
        objectives: objectives of the search.
        fixed: overrides of all jobs.
    """
    latest = sorted(shared.by_job().values(), key=lambda trial: str(trial.user_attrs[JOB]))
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
            _row(trial, objectives)
            | {"command": shlex.join(["twotower", "train", *fixed, *trial.user_attrs[OVERRIDES]])}
            for trial in best(usable, objectives)
        ],
        "importance": importance(shared.study, len(usable)),
        "trials": [_row(trial, objectives) for trial in latest],
    }


def best(trials: Sequence[FrozenTrial], objectives: Objectives) -> list[FrozenTrial]:
    """Return the best trial, or the Pareto set sorted by its first objective."""
    study = copy_study(trials, list(objectives.values()))
    optimal = [trials[copy.number] for copy in study.best_trials] if trials else []
    first = next(iter(objectives.values()))
    optimal.sort(key=lambda trial: trial.values, reverse=first == "maximize")
    return optimal if len(objectives) > 1 else optimal[:1]


def importance(study: optuna.Study, num_usable: int) -> dict[str, float]:
    """Return key -> share of importance, the largest first; empty with too few trials.

    Reference: Watanabe et al. 2023, "PED-ANOVA: efficiently quantifying hyperparameter importance in
    arbitrary subspaces".
    """
    if num_usable < MIN_TRIALS_FOR_IMPORTANCE or len(study.directions) > 1:
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
