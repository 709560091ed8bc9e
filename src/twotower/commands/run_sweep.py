"""Run a sweep: its axes, its jobs on a launcher, and one record of all jobs."""

import contextlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import load_settings
from twotower.commands.overrides import parse_axis
from twotower.config.exits import DONE, FAILED, INDEX_REJECTED, stoppable
from twotower.config.problems import NOT_VARIED, Problem, nearest, raise_problems
from twotower.experiments.console.rich import make_console
from twotower.experiments.console.sweep_summary import SweepSummary
from twotower.experiments.launchers.launcher import Launcher
from twotower.experiments.runs.fingerprint import DEFAULT_MONITOR, IRRELEVANT_KEYS, override_key
from twotower.experiments.runs.folder_name import SHORT, folder_name
from twotower.experiments.runs.outcome import Outcome
from twotower.experiments.runs.result import best_key
from twotower.experiments.runs.run_files import VARIED
from twotower.experiments.sweeps.axis import Axis
from twotower.experiments.sweeps.grid import Grid
from twotower.experiments.sweeps.schedule import (
    count_verdicts,
    find_outdated,
    run_jobs,
    summarize_seeds,
    write_sweep,
)
from twotower.experiments.sweeps.sweep import Sweep, SweepContext
from twotower.files.atomic import write_text_atomically
from twotower.files.lock import lock_folder

LOG = logging.getLogger("twotower")
TASK = "twotower.jobs.train_run.run_job"
WELL = "ok", "index_rejected", "pruned"


def run_sweep(
    config_name: str, fixed: Sequence[str], swept: Sequence[str], settings: Mapping[str, Any]
) -> int:
    """Run a sweep, or continue it; returns the exit status.

    Args:
        config_name: the YAML in `conf/` that the jobs start from.
        fixed: overrides of all jobs.
        swept: overrides with several values.
        settings: composed from the fixed overrides, with `sweep` and `launcher`.
    """
    began = time.perf_counter()
    chosen = Sweep.Config.model_validate(settings["sweep"]) if settings.get("sweep") else Grid.Config()
    axes = axes_of(chosen, fixed, swept, settings)
    shared = tuple(text for text in fixed if _key(text) not in SWEEP_ONLY)
    folder = Path(settings["output_root"]) / settings["name"] / sweep_name(fixed, axes)
    launcher = Launcher.Config.model_validate(settings["launcher"]).build(TASK, folder)
    raise_problems(Problem(f"launcher.{key}", message) for key, message in launcher.config.problems())
    context = SweepContext(
        folder=folder,
        axes=axes,
        fixed=shared,
        compose=lambda overrides: {
            key: value
            for key, value in load_settings(config_name, overrides).items()
            if key not in SWEEP_ONLY
        },
        retry_failed=settings["retry_failed"],
        monitor=settings["trainer"].get("monitor", DEFAULT_MONITOR),
        num_workers=lambda: launcher.num_workers,
    )
    console = make_console(settings["console"])
    sweep = chosen.build(context)
    outdated = find_outdated(sweep.done_before())

    def remedy() -> str:
        return f"the same command continues {context.folder}"

    with contextlib.ExitStack() as stack:
        stack.enter_context(stoppable(remedy))
        stack.enter_context(lock_folder(context.folder, "sweep"))
        stack.enter_context(console)
        LOG.addHandler(console)  # warnings of the launcher
        stack.callback(LOG.removeHandler, console)
        console.sweep_started(context.folder, sweep.num_jobs, context.monitor)
        for note in sweep.notes():
            console.say(note)
        if outdated:
            console.say(
                f"warning: {len(outdated)} finished jobs were trained by other code or versions, such as "
                f"{outdated[0]}; delete their folders to run them again"
            )
        write_text_atomically(context.folder / VARIED, json.dumps(sweep.varied_keys()))
        stack.enter_context(launcher)
        stack.enter_context(stoppable(remedy))  # again, because Ray replaces signal handlers
        outcomes = run_jobs(sweep, launcher, console)
        tested = context.monitor.replace("valid/", "test/")
        seeds = summarize_seeds(outcomes, [best_key(context.monitor), tested])
        found = sweep.summary()
        parts = seeds, found.get("search", {}), found.get("first_look", {})
        verdicts = count_verdicts(context.folder, tested, "configuration" if seeds else "run")
        seconds = time.perf_counter() - began
        summary = SweepSummary(context.folder, context.monitor, outcomes, seconds, *parts, verdicts)
        write_sweep([*fixed, *swept], summary, found)
        console.sweep_ended(summary)
    well = [each for each in outcomes if each.status in WELL]
    return exit_status_of(well if chosen.may_fail and well else outcomes)


def axes_of(
    sweep: Sweep.Config, fixed: Sequence[str], swept: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Axis, ...]:
    """Return the axes of the sweep's YAML, then of the command line, then the seeds.

    Keys that are typed with one value, or after `~sweep.vary.`, are removed from the axes of the YAML.

    Raises:
        InputError: an axis is invalid or empty, or its key is not a setting of a job.
    """
    varied = sweep.vary or {}
    removed = {text.removeprefix(NOT_VARIED) for text in swept if text.startswith(NOT_VARIED)}
    typed = dict(text.lstrip("+").split("=", 1) for text in swept if not text.startswith(NOT_VARIED))
    out = removed | {text.lstrip("+").partition("=")[0] for text in fixed}
    texts = {**{key: text for key, text in varied.items() if key not in out}, **typed}
    problems = [
        Problem(f"{NOT_VARIED}{key}", f"this sweep does not vary it; {nearest(key, varied)}")
        for key in sorted(removed - varied.keys())
    ]
    for key, text in texts.items():
        if key.startswith("sweep.vary."):
            message = f"to override the values of the YAML, write {key[11:]}={text}"
            problems.append(Problem(key, message))
        elif _key(key) in SWEEP_ONLY | IRRELEVANT_KEYS:
            message = "cannot vary: a setting of the whole sweep, or of where runs are written"
            problems.append(Problem(key, message))
    if "seed" in texts and settings["seeds"] > 1:
        message = f"has several values, and seeds={settings['seeds']} sets others; leave one of them out"
        problems.append(Problem("seed", message))
    raise_problems(problems, "the axes of this sweep; nothing was run")
    axes = {key: parse_axis(key, text) for key, text in texts.items()}
    if settings["seeds"] > 1:
        first = settings["seed"]
        seeds = tuple(str(seed) for seed in range(first, first + settings["seeds"]))
        axes["seed"] = Axis("seed", seeds)
    return tuple(axes.values())


def sweep_name(fixed: Sequence[str], axes: Sequence[Axis]) -> str:
    """Return the folder name: the sweep or the varied keys, then the fixed overrides.

    TensorBoard breaks long names after a hyphen, so in its list of runs the name of the job begins a line.
    """
    named = [text.removeprefix("sweep=") for text in fixed if text.startswith("sweep=")]
    # Of a varied key all parts are kept: sweeps over history.dropout and user_tower.dropout are two.
    varied = [SHORT.get(axis.key, axis.key.replace(".", "-")) for axis in axes]
    kept = [text for text in fixed if _key(text) not in SWEEP_ONLY | IRRELEVANT_KEYS]
    return f"{folder_name([*(named or varied), *kept])}-sweep".lstrip("-")


def exit_status_of(outcomes: Sequence[Outcome]) -> int:
    """Return the exit status of a sweep: the status of its worst job."""
    statuses = {outcome.status for outcome in outcomes}
    if statuses - {*WELL}:
        return FAILED
    return INDEX_REJECTED if "index_rejected" in statuses else DONE


def _key(text: str) -> str:
    """Return the root key that an override changes."""
    return override_key(text).partition(".")[0]
