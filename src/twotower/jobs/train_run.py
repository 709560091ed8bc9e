"""The main job: from settings to trained towers, a checked index, a result and a bundle."""

import contextlib
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
from twotower.experiments.runs import sections, trainings
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.result import Result, read_finished_result, read_result
from twotower.experiments.runs.run import RESUME_HINT, Run, run_folder
from twotower.experiments.runs.run_files import CONFIG
from twotower.files.atomic import write_text_atomically
from twotower.files.plain_values import yaml_text
from twotower.jobs.follow import follow, follow_launcher
from twotower.jobs.older_windows import NO_MEAN, train_older_windows
from twotower.jobs.open_run import RunContext, finish, index_model, open_run, report_result, save_bundle
from twotower.jobs.parent_towers import continue_training, train_context
from twotower.jobs.quality import (
    Quality,
    ValidatedBaselines,
    evaluate_baselines,
    evaluate_on_test,
    measure_cold_start,
    read_quality,
    through_index,
    validate_baselines,
)
from twotower.jobs.run_config import RunConfig, WarmStartRunConfig, checked_run
from twotower.parallel.launched import check_launcher, launched_rank, launched_size
from twotower.parallel.processes import processes
from twotower.parallel.ranks import from_first
from twotower.training.callbacks.curves import EpochCallback, TrialPruned
from twotower.training.checkpoints import FIT, delete_progress
from twotower.training.parts import check_weights, fit_tables, id_rows
from twotower.training.train_towers import load_trained_towers, train_towers

LOG = logging.getLogger("twotower")
OPTIMIZER = "optimizer."
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

    The payload is that of `Job.payload`. The outcome is in `result.json` of its folder, unless the folder
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

    `changes` has changed settings with those of a `WarmStart`; without epochs, nothing is trained.
    """
    mode = WARM_START if changes[WARM_START]["epochs"] else REBUILD_BUNDLE
    before = read_finished_result(source, mode)
    name = f"generation={before.generation + 1}" if mode == WARM_START else mode
    old = Run.open(source, trusted)
    new = [text for text in overrides if override_key(text) != "run"]
    latest = {override_key(text): text for text in [*old.overrides, *new]}  # the last override of each key
    settings = old.settings | dict(changes)
    typed = set(map(override_key, new))
    chosen = {key: value for key, value in before.training.chosen.items() if key.startswith(OPTIMIZER)}
    is_same = settings["optimizer"]["_target_"] == old.settings["optimizer"]["_target_"]
    if "optimizer" not in typed and is_same:  # the choices of one class do not fit another
        values = {key.removeprefix(OPTIMIZER): chosen[key] for key in chosen.keys() - typed}
        settings["optimizer"] = settings["optimizer"] | values
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
    config = config.with_epoch_monitor()
    with open_run(run, config) as job, contextlib.ExitStack() as others:
        if not config.rebuilds_bundle:
            job.console.heading("training")
        source, fitted_on = _find_equal_training(job), None
        equal = None if source is None else _read_equal_quality(job, source)
        origin: dict[str, Any] = {} if source is None else {"training_reused_from": str(source)}
        baselines: ValidatedBaselines | None = None
        try:
            if isinstance(config, WarmStartRunConfig):
                _join_processes(job, others, not config.rebuilds_bundle)
                trained, origin, fitted_on = continue_training(job, config.warm_start)
            elif source is not None:
                _join_processes(job, others, trains=False)
                trained = load_trained_towers(config, job.dataset, source, None if equal else job.evaluator)
            else:
                tables = fit_tables(config, job.dataset, job.dataset.train)
                check_weights(config, *tables, len(job.dataset.events))
                baselines = validate_baselines(job, tables[1])
                _join_processes(job, others, trains=True, has_callback=epoch_callback is not None)
                context = train_context(job, epoch_callback)
                trained = train_towers(config, job.dataset, job.evaluator, context, tables)
        except TrialPruned as pruned:
            record = {
                "training": sections.training_record(run.settings, pruned.epochs, False),
                "curves": dict(pruned.curves),
            }
            timing = {"total_seconds": round(run.seconds(), 3)}
            report_result(job, run.partial_result.ended("pruned", **record, timing=timing))
            delete_progress(run.folder / "checkpoints" / FIT)
            return DONE
        now = config.features.with_files(job.dataset)
        if changed := sections.changed_data(run.partial_result.data, now):
            raise InputError(f"{changed} changed during the run; run again")
        if not origin:
            fingerprint = run.partial_result.training_fingerprint
            trainings.remember(Path(config.output_root), fingerprint, run.folder)
        indexed = index_model(job, trained.model)
        fitted = trained.result
        training = sections.training_record(run.settings, fitted.epochs, trained.refit, trained.temperature)
        training |= {"epoch_steps": fitted.epoch_steps, "chosen": fitted.chosen, **trained.initialization}
        training["id_rows"] = id_rows(trained.model)
        result: dict[str, Any] = {
            **origin,
            "training": training if fitted_on is None else training | {"fitted_on": fitted_on},
            "curves": fitted.curves,
            "timing": {
                "train_seconds": round(fitted.seconds, 3),
                "examples_per_second": round(fitted.examples / max(fitted.seconds, 1e-9), 1),
            },
        }
        exact = equal or evaluate_on_test(job, trained.model, trained.valid, trained.temperature)
        others.close()  # what follows is done by this process alone
        result |= trained.report_parts
        result |= through_index(job, trained.model, indexed.index, exact)
        result |= measure_cold_start(job, trained.model)
        save_bundle(job, trained.model, indexed)
        if equal is None:  # may take long: the bundle is written already
            baselines = baselines or validate_baselines(job, trained.model.items)
            result |= evaluate_baselines(job, trained.model.items, baselines)
        timing = {"total_seconds": round(run.seconds(), 3)}
        newest = run.partial_result.update(**{**result, "status": "ok", "timing": timing})
        result |= train_older_windows(job, newest, run_job)
        return finish(job, indexed, result)


def _retry_windows(run: Run, config: RunConfig, finished: Result) -> int:
    """Train the older windows of a finished run that failed; nothing else of it changes."""
    with open_run(run, config.with_epoch_monitor(), finished) as job:
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


def _join_processes(
    job: RunContext, others: contextlib.ExitStack, trains: bool, has_callback: bool = False
) -> None:
    """Let the other processes train and evaluate together with this one until `others` is closed.

    Args:
        trains: False: nothing is trained, and processes that a launcher has started end.
        has_callback: whether an epoch callback may stop the training.
    """
    trainer = job.config.trainer
    if trains or launched_size() > 1:
        joined = processes(trainer.devices, trainer.num_nodes, follow, job.run.folder)
        others.enter_context(joined)
        plan = {  # read by `follow`
            "settings": job.config.settings,
            "overrides": list(job.config.overrides),
            "folder": str(job.run.folder.absolute()),
            "data": job.dataset.identity,
            "has_callback": has_callback,
        }
        from_first(plan if trains else None)
    if not trains:
        others.close()


def _find_equal_training(job: RunContext) -> Path | None:
    """Return the run with an equal training, if there is one and `reuse` is on.

    A warm start is trained again, because its settings name the parent run only by its folder.
    """
    if not job.config.reuse or isinstance(job.config, WarmStartRunConfig):
        return None
    source = trainings.find(Path(job.config.output_root), job.run.partial_result.training_fingerprint)
    if source is None or source.resolve() == job.run.folder.resolve():
        return None
    LOG.info("reusing the towers of %s (reuse=false trains again)", source)
    return source


def _read_equal_quality(job: RunContext, source: Path) -> Quality | None:
    """Return the quality by exact search of the run with these towers, if its evaluation is equal."""
    try:
        before = read_result(source)
    except InputError as error:
        LOG.warning("%s; its metrics are computed again", error)
        return None
    if before is None or not before.finished:
        return None
    if before.evaluation_fingerprint != job.run.partial_result.evaluation_fingerprint:
        return None
    return read_quality(job, source, before)
