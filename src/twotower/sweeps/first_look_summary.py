"""Summary of a first look."""

import shlex
from math import isnan
from typing import Any

from twotower.reports.compare.run_frame import baseline_rows, make_frame, read_runs, records
from twotower.reports.compare.verdicts import compare_pairs
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.outcome import Outcome
from twotower.runs.result import read_result_or_failure
from twotower.sweeps.first_look import FirstLook, Recipe


def summarize(look: FirstLook) -> dict[str, Any]:
    """Return the table of recipes with validation metrics, and the best recipe.

    Args:
        look: first look without running jobs.
    """
    metric = look.context.monitor
    higher = higher_is_better(metric, [each.higher_is_better for each in look.outcomes.values()]) is not False
    best, on_all = look.best() or (None, False)
    part = "whole" if on_all else "sample"
    baselines = {each: _baselines(look, each == "sample") for each in ("sample", "whole")}
    leaders = {
        each: (max if higher else min)(values, key=values.__getitem__, default=None)
        for each, values in baselines.items()
    }
    names = dict.fromkeys(name for name in leaders.values() if name is not None)
    ranked = [*filter(None, [best]), *look.ranked(sample=False), *look.ranked(sample=True), *look.recipes]
    return {
        "metric": metric,
        "num_users": look.num_users,
        "share": look.share,
        "recipes": [_row(look, recipe) for recipe in {each.name: each for each in ranked}.values()],
        "left_out": look.left_out,
        "baselines": {name: {each: baselines[each].get(name) for each in baselines} for name in names},
        "best": best and _best(look, best, part, baselines[part].get(leaders[part] or ""), higher),
        "tests": [] if best is None else _tests(look, best, part, leaders[part]),
    }


def _row(look: FirstLook, recipe: Recipe) -> dict[str, Any]:
    outcomes = {"sample": look.outcome(recipe, True), "whole": look.outcome(recipe, False)}
    figures = {part: each and each.figure(look.context.monitor) for part, each in outcomes.items()}
    seconds = {part: each and (round(each.seconds, 1) or None) for part, each in outcomes.items()}
    return {
        "recipe": recipe.name,
        "sets": " ".join(recipe.texts),
        **figures,
        "seconds": seconds,
        "note": _note(outcomes["whole"] or outcomes["sample"]),
    }


def _note(outcome: Outcome | None) -> str:
    """Return the state of a recipe in words, empty if its job finished."""
    if outcome is None:
        return "not run: the time limit was reached"
    return {
        "pruned": "stopped: its share of the time had passed",
        "interrupted": "stopped: the time limit was reached; the same command continues",
        "failed": f"failed: {(outcome.error or '').partition(chr(10))[0]}",
        "index_rejected": "its index was rejected",
    }.get(outcome.status, "")


def _baselines(look: FirstLook, sample: bool) -> dict[str, float]:
    """Return the validation metric of each baseline, equal in all jobs on the same users."""
    values: dict[str, float] = {}
    for recipe in look.recipes:
        outcome = look.outcome(recipe, sample)
        result = read_result_or_failure(outcome.folder) if outcome and outcome.finished else None
        for name, figures in {} if result is None else result.baselines.items():
            if look.context.monitor in figures:
                values.setdefault(name, figures[look.context.monitor])
    return values


def _best(look: FirstLook, best: Recipe, part: str, leader: float | None, higher: bool) -> dict[str, Any]:
    outcome = look.outcome(best, part == "sample")
    assert outcome is not None
    value = outcome.figure(look.context.monitor)
    assert value is not None
    return {
        "recipe": best.name,
        "job": outcome.name,
        "on": part,
        "value": value,
        "ended": outcome.finished,
        "behind_baseline": leader is not None and (value < leader if higher else value > leader),
        "command": shlex.join(["twotower", "train", *look.context.fixed, *best.texts]),
    }


def _tests(look: FirstLook, best: Recipe, part: str, leader: str | None) -> list[dict[str, Any]]:
    """Return paired tests over test users: the best recipe against the others and the best baseline.

    The validation split chooses the best recipe; the tests do not.
    """
    outcomes = {recipe.name: look.outcome(recipe, part == "sample") for recipe in look.recipes}
    folders = {name: each.folder for name, each in outcomes.items() if each and each.finished}
    if best.name not in folders:  # stopped before the test
        return []
    runs, results = read_runs(list(folders.values()))
    runs = runs.assign(name=list(folders))
    position = list(folders).index(best.name)
    baselines = baseline_rows(runs[runs["name"] == best.name], results)
    rows = make_frame(records(runs) + records(baselines[baselines["name"] == leader]))
    metric = look.context.monitor.replace("valid/", "test/", 1)
    higher = higher_is_better(metric, (result.higher_is_better for result in results.values()))
    pairs = [(position, other) for other in range(len(rows)) if other != position]
    return [
        {
            "against": rows["name"][row["right"]],
            "metric": metric,
            "difference": _number(row["difference"]),
            "interval": None if isnan(row["low"]) else [row["low"], row["high"]],
            "p": _number(row["corrected_p_value"]),
            "verdict": ", ".join(filter(None, [row["verdict"], row["reason"]])),
        }
        for row in records(compare_pairs(rows, pairs, metric, higher).table)
    ]


def _number(value: float) -> float | None:
    return None if isnan(value) else value
