"""Start the main job: in a new folder, interrupted, in a sweep, or from the towers of another run."""

import logging
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.exits import DONE, INDEX_REJECTED, stoppable
from twotower.config.problems import Problem, raise_problems
from twotower.config.run_keys import REBUILD_BUNDLE, WARM_START
from twotower.config.trust import targets
from twotower.evaluation.indexing import Indexed
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.result import Result, read_finished_result
from twotower.experiments.runs.run import RESUME_HINT, Run, run_folder
from twotower.experiments.runs.run_files import CONFIG
from twotower.files.atomic import write_text_atomically
from twotower.files.plain_values import yaml_text
from twotower.job import main_job
from twotower.jobs.follow import follow_launcher
from twotower.jobs.older_windows import NO_MEAN, train_older_windows
from twotower.jobs.open_run import load_data, open_run
from twotower.jobs.report_run import report_result, report_run
from twotower.jobs.run_config import RunConfig, checked_run
from twotower.jobs.run_context import RunContext
from twotower.parallel.launched import check_launcher, launched_rank, launched_size
from twotower.training.callbacks.curves import EpochCallback

LOG = logging.getLogger("twotower")
TOWERS = {"embedding_dim", "features", "history", "user_tower", "item_tower", "item_bias"}
TOWER_KEYS = TOWERS | {"size", "experiment", "benchmark"}
"""Root keys that define the towers, and choices that set some of these."""


def train(
    config: RunConfig,
    folder: Path,
    epoch_callback: EpochCallback | None = None,
    keep_after_input_error: bool = True,
) -> int:
    """Run the main job into a new run folder; returns the exit status.

    `epoch_callback` receives the monitored metric after each epoch, and may stop the run.
    """
    with stoppable(lambda: RESUME_HINT.format(shlex.quote(str(folder)))):
        _check_processes(config)
        run = Run.create(folder, config.settings, config.overrides, keep_after_input_error)
        return _train(run, config, epoch_callback)


def train_in_new_folder(config: RunConfig) -> tuple[Path, int]:
    """Run the main job into a folder named by overrides and time; returns the folder and the exit status."""
    folder = run_folder(Path(config.output_root) / config.name, config.overrides)
    return folder, train(config, folder, keep_after_input_error=False)


def resume(
    folder: Path,
    trusted_packages: Collection[str] = (),
    changes: Mapping[str, Any] | None = None,
    epoch_callback: EpochCallback | None = None,
) -> int:
    """Continue an interrupted run, to bit-identical results; returns the exit status.

    `changes` has key -> value of changed settings: the console, or another number of processes, with which
    the order of the examples is the same and the results are equal to rounding.
    """
    with stoppable(lambda: RESUME_HINT.format(shlex.quote(str(folder)))):
        run = Run.open(folder, trusted_packages)
        run.refuse_if_ended()
        before = yaml_text(run.settings)
        for key, value in (changes or {}).items():
            group, _, name = key.rpartition(".")
            (run.settings[group] if group else run.settings)[name] = value
        config = checked_run(run.settings, run.overrides, f"{folder}/config.yaml")
        _check_processes(config)
        if (now := yaml_text(run.settings)) != before:  # result and bundle have the changed settings
            write_text_atomically(folder / CONFIG, now)
        if (finished := run.finished_result()) is not None:
            return _retry_windows(run, config, finished)
        return _train(run, config, epoch_callback)


def run_job(payload: Mapping[str, Any]) -> int:
    """Run a job of a sweep, or resume it if its folder exists; returns the exit status.

    `Job.payload` has the payload. The outcome is in `result.json` of its folder, unless the folder
    cannot be opened.
    """
    if launched_rank():
        return follow_launcher()
    folder, callback = Path(payload["folder"]), None
    if payload["trial"] is not None:
        from twotower.experiments.sweeps.search import make_pruning_callback

        callback = make_pruning_callback(payload["trial"])
    if (folder / CONFIG).is_file():
        trainer = payload["settings"].get("trainer", {})  # a window has the processes of its run
        changes = {f"trainer.{key}": trainer[key] for key in ("devices", "num_nodes") if key in trainer}
        trusted = [*targets(payload["settings"])]  # when the sweep started
        return resume(folder, trusted, changes, callback)
    return train(RunConfig.composed(payload["settings"], payload["overrides"]), folder, callback)


def warm_start(
    source: Path,
    changes: Mapping[str, Any],
    overrides: Sequence[str] = (),
    trusted: Collection[str] = (),
    folder: Path | None = None,
) -> int:
    """Train the towers of a run further, in a new folder next to it; returns the exit status.

    `changes` has changed settings and the settings of a `WarmStart`; without epochs, nothing is trained.
    """
    mode = WARM_START if changes[WARM_START]["epochs"] else REBUILD_BUNDLE
    before = read_finished_result(source, mode)
    name = f"generation={before.generation + 1}" if mode == WARM_START else mode
    old = Run.open(source, trusted)
    new = [text for text in overrides if override_key(text) != "run"]
    latest = {override_key(text): text for text in [*old.overrides, *new]}  # the last override of each key
    settings = old.settings | dict(changes)
    config = checked_run(settings, [*latest.values()], "the run's settings with these changes")
    return train(config, folder or run_folder(source.parent, [name, *new]), keep_after_input_error=False)


def rebuild_bundle(
    source: Path,
    changes: Mapping[str, Any],
    overrides: Sequence[str] = (),
    trusted: Collection[str] = (),
    folder: Path | None = None,
) -> int:
    """Build a new bundle of the towers of a run without training; see `warm_start`."""
    untrained = {WARM_START: {"run": str(source), "epochs": 0, "replay": 0.0}}
    return warm_start(source, {**changes, **untrained}, overrides, trusted, folder)


def refuse_other_towers(mode: str, overrides: Sequence[str]) -> None:
    """Raise InputError with the overrides that would change the architecture of the towers."""
    keys = dict.fromkeys(override_key(text) for text in overrides)
    message = f"defines the towers, which {mode}= takes from the run; leave it out, or train from scratch"
    raise_problems(
        (Problem(key, message) for key in keys if key.partition(".")[0] in TOWER_KEYS),
        f"the overrides of {mode}=",
    )


def _train(run: Run, config: RunConfig, epoch_callback: EpochCallback | None) -> int:
    """Run the main job, with the older windows of a rolling split as further jobs in its folder."""

    def report_with_windows(job: RunContext, indexed: Indexed, result: Mapping[str, Any]) -> int:
        timing = {"total_seconds": round(run.seconds(), 3)}
        newest = run.partial_result.update(**{**result, "status": "ok", "timing": timing})
        return report_run(job, indexed, {**result, **train_older_windows(job, newest, run_job)})

    report = report_with_windows if config.split.windows() else report_run
    return main_job(run, config, epoch_callback, report)


def _retry_windows(run: Run, config: RunConfig, finished: Result) -> int:
    """Train the older windows of a finished run that failed; nothing else of it changes."""
    with open_run(run, config) as opened:
        job = load_data(opened, finished)
        windows = train_older_windows(job, finished, run_job)
        kept = [text for text in finished.warnings if NO_MEAN not in text]
        report_result(job, finished.update(**windows, warnings=kept))
    return DONE if finished.status == "ok" else INDEX_REJECTED


def _check_processes(config: RunConfig) -> None:
    """Refuse what the processes that a launcher has started cannot train.

    Raises:
        InputError: their number differs from the settings, or several trainings follow one another.
    """
    check_launcher(config.trainer.devices, config.trainer.num_nodes)
    if launched_size() > 1 and config.split.windows():
        raise InputError(
            "split.window: the windows are trained one after another, and processes that a launcher has "
            "started train one; set split.window=1 (then 2, ...), or trainer.devices without a launcher"
        )
