"""The record of a sweep: `sweep.json`, plots in TensorBoard, and means over seeds."""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from twotower.files.atomic import write_text_atomically
from twotower.reports.console.findings import SeedSummary
from twotower.runs.folder_name import without_seed
from twotower.runs.outcome import Outcome
from twotower.sweeps.job import SweepContext

SWEEP = "sweep.json"


def summarize_seeds(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> list[SeedSummary]:
    """Return mean and interval of each configuration with at least two finished seeds.

    Args:
        outcomes: outcomes of the jobs.
        metrics: keys of `Outcome.figures`.
    """
    from scipy import stats

    groups: dict[str, dict[int, Outcome]] = {}
    for outcome in outcomes:
        if outcome.configuration is not None and outcome.seed is not None:
            groups.setdefault(outcome.configuration, {})[outcome.seed] = outcome
    summaries = []
    for seeds in groups.values():
        name = without_seed(next(iter(seeds.values())).name)
        for metric in metrics:
            values = [each.figures[metric] for each in seeds.values() if metric in each.figures]
            if len(values) > 1:
                mean, sd = statistics.fmean(values), statistics.stdev(values)
                half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
                interval = mean - half, mean + half
                summaries.append(SeedSummary(name, metric, mean, sd, interval, len(values)))
    return summaries


def write_sweep(
    context: SweepContext,
    overrides: Sequence[str],
    outcomes: Sequence[Outcome],
    seeds: Sequence[SeedSummary],
    summary: Mapping[str, Any],
) -> None:
    """Write `sweep.json` and the Pareto plots.

    Args:
        context: context with the folder.
        overrides: overrides of the command line.
        outcomes: outcomes of all jobs.
        seeds: means over seeds.
        summary: `Sweep.summary`.
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
    record = {"overrides": list(overrides), "monitor": context.monitor, **summary}
    record |= {"seeds": [dataclasses.asdict(each) for each in seeds], "jobs": jobs}
    write_text_atomically(context.folder / SWEEP, json.dumps(record, indent=2))
    draw_sweep(context.folder, outcomes, context.monitor)
