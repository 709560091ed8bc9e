"""What a sweep leaves in its own folder: `sweep.json`, its figures in TensorBoard, and seeds summed up."""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from twotower.files.atomic import write_text_atomically
from twotower.reports.console.console import SeedSummary
from twotower.runs.folder_name import without_seed
from twotower.runs.outcome import Outcome
from twotower.sweeps.job import SweepContext

SWEEP = "sweep.json"


def summarise_seeds(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> list[SeedSummary]:
    """Summarise each configuration of which two seeds at least have ended.

    Args:
        outcomes: of a sweep's jobs.
        metrics: keys of `Outcome.figures`.
    """
    groups: dict[str, dict[int, Outcome]] = {}
    for outcome in outcomes:
        if outcome.configuration is not None and outcome.seed is not None:
            groups.setdefault(outcome.configuration, {})[outcome.seed] = outcome
    found = []
    for seeds in groups.values():
        name = without_seed(next(iter(seeds.values())).name)
        for metric in metrics:
            values = [each.figures[metric] for each in seeds.values() if metric in each.figures]
            if len(values) > 1:
                found.append(_summary(name, metric, values))
    return found


def _summary(name: str, metric: str, values: list[float]) -> SeedSummary:
    from scipy import stats

    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
    return SeedSummary(name, metric, mean, sd, (mean - half, mean + half), len(values))


def write_sweep(
    context: SweepContext,
    overrides: Sequence[str],
    outcomes: Sequence[Outcome],
    seeds: Sequence[SeedSummary],
    found: Mapping[str, Any],
) -> None:
    """Write what was asked and how each job ended, and the sweep's Pareto plots.

    Args:
        context: with the folder.
        overrides: what was typed.
        outcomes: of all jobs.
        seeds: of configurations with several.
        found: what the sweep's plan has to say.
    """
    from twotower.reports.tensorboard_run import draw_sweep

    jobs = [
        {
            "job": outcome.name,
            "status": outcome.status,
            "figures": outcome.figures,
            "training_reused_from": outcome.reused_from,
            "error": outcome.error,
        }
        for outcome in sorted(outcomes, key=lambda each: each.name)
    ]
    whole = {"overrides": list(overrides), "monitor": context.monitor, **found}
    whole |= {"seeds": [dataclasses.asdict(each) for each in seeds], "jobs": jobs}
    write_text_atomically(context.folder / SWEEP, json.dumps(whole, indent=2))
    draw_sweep(context.folder, outcomes, context.monitor)
