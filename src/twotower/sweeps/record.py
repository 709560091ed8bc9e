"""What a sweep leaves in its own folder: `sweep.json` and its figures in TensorBoard."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from twotower.files.atomic import write_text_atomically
from twotower.reports.console.console import SeedSummary
from twotower.runs.outcome import Outcome
from twotower.sweeps.job import Request

SWEEP = "sweep.json"


def write_sweep(
    request: Request,
    overrides: Sequence[str],
    outcomes: Sequence[Outcome],
    seeds: Sequence[SeedSummary],
    found: Mapping[str, Any],
) -> None:
    """Write what was asked and how each job ended, and the sweep's Pareto plots.

    Args:
        request: with the folder.
        overrides: what was typed.
        outcomes: of all jobs.
        seeds: of configurations with several.
        found: what the sweep's plan has to say.
    """
    from twotower.reports.tensorboard import draw_sweep

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
    whole = {"overrides": list(overrides), "monitor": request.monitor, **found}
    whole |= {"seeds": [dataclasses.asdict(each) for each in seeds], "jobs": jobs}
    write_text_atomically(request.folder / SWEEP, json.dumps(whole, indent=2))
    draw_sweep(request.folder, outcomes, request.monitor)
