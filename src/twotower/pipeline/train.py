"""The pipeline, as it reads: settings in; trained towers, a checked index, a record and a bundle out."""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.exits import DONE, stoppable
from twotower.config.problems import raise_problems
from twotower.evaluation.indexing import Indexed
from twotower.index.index import Index
from twotower.index.rehearsal import rehearse
from twotower.pipeline.run_config import problems_of
from twotower.pipeline.stages import (
    conclude,
    evaluate,
    evaluate_on_test,
    finish,
    index_model,
    measure_cold_start,
    prepare,
)
from twotower.reports.console.choose import console_of, screen_of
from twotower.reports.tensorboard import Board
from twotower.runs import record, trainings
from twotower.runs.result import Result, ending_of, read_result, write_result
from twotower.runs.run import GOES_ON, Run, new_folder, run_folder
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES
from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.curves import Pruned, Watch
from twotower.training.phases import train_towers, trained_before
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")
BEGINS_ANEW = "the same command again begins anew, and {} may be deleted"
Settings = Mapping[str, Any]
Names = Collection[str]


def train(settings: Settings, folder: Path, overrides: Sequence[str] = (), watch: Watch | None = None) -> int:
    """Run the main job into a new run folder; returns the exit status.

    Args:
        settings: plain checked values.
        folder: the run's, not yet there.
        overrides: what was typed.
        watch: is shown the monitored metric after each epoch, and may prune the run.
    """
    with stoppable(lambda: GOES_ON.format(folder)):
        return _train(Run.create(folder, settings, overrides), watch)


def train_anew(settings: Settings, overrides: Sequence[str]) -> int:
    """Run the main job into a folder named by what was typed and by the time; returns the exit status."""
    return train(settings, new_folder(settings, overrides), overrides)


def resume(folder: Path, watch: Watch | None = None, trusted: Names = ()) -> int:
    """Go on with a run that was interrupted, to the same numbers; returns the exit status.

    Args:
        folder: of the run.
        trusted: packages whose classes the run's file of settings may name.

    Raises:
        InputError: there is no run, or it has ended.
    """
    with stoppable(lambda: GOES_ON.format(folder)):
        run = Run.open(folder, trusted)
        run.refuse_if_ended()
        raise_problems(problems_of(run.settings), f"{folder}/config.yaml")
        return _train(run, watch)


def _train(run: Run, watch: Watch | None) -> int:
    settings = run.settings
    with run.recorded(screen_of(settings)), Board(run.folder) as board:
        board.start(settings, run.config_text(), run.overrides)
        dataset, evaluator = prepare(run)
        config, index_config = TrainingConfig.of(settings), Index.Config.model_validate(settings["index"])
        source = trained_by(run)
        indexed: list[Indexed] = []

        def index(model: TwoTower) -> None:
            indexed[:] = [index_model(model, settings, dataset, evaluator)]

        try:
            if source is None:
                rehearsal = partial(rehearse, index_config, config.embedding_dim, len(dataset.items))
                bar = settings["console"] == "rich"
                trained = train_towers(config, dataset, evaluator, run.folder, rehearsal, index, watch, bar)
                trainings.remember(Path(settings["output_root"]), run.known.training_fingerprint, run.folder)
            else:
                trained = trained_before(config, dataset, evaluator, source)
        except Pruned as pruned:
            return _pruned(run, board, pruned)
        if not indexed:  # the towers are another run's, or all phases had ended in an earlier process
            index(trained.model)
        result: dict[str, Any] = {
            "training": record.training_record(settings, trained.epochs, trained.refit)
            | {"epoch_steps": trained.epoch_steps},
            "curves": trained.curves,
            "timing": record.timing_record(trained.seconds, trained.interactions),
        }
        if source is not None:
            result["training_reused_from"] = str(source)
        quality = known_quality(run, source)
        result |= quality or evaluate_on_test(run, trained.model, trained.valid(), dataset, evaluator)
        result |= measure_cold_start(trained.model, settings, dataset, evaluator)
        return finish(run, board, dataset, trained.model, indexed[0], result)


def trained_by(run: Run) -> Path | None:
    """Return the run that trained these very towers, if one did and reuse is on."""
    if not run.settings["reuse"]:
        return None
    found = trainings.find(Path(run.settings["output_root"]), run.known.training_fingerprint)
    if found is None or found.resolve() == run.folder.resolve():
        return None
    LOG.info("towers are those of %s (reuse=false trains them again)", found)
    return found


def known_quality(run: Run, source: Path | None) -> dict[str, Any] | None:
    """Return the quality of a run with the same towers, if it was evaluated in the same way."""
    if source is None:
        return None
    try:
        before = read_result(source)
    except InputError as error:
        LOG.warning("warning: %s; its figures are computed again", error)
        return None
    tables = [source / PER_USER, source / PER_USER_BASELINES]
    if before is None or not before.finished or not all(map(Path.is_file, tables)):
        return None
    if before.evaluation_fingerprint != run.known.evaluation_fingerprint:
        return None
    for table in tables:
        run.copy_table(source, table.name)
    return before.plain(*record.QUALITY)


def _pruned(run: Run, board: Board, pruned: Pruned) -> int:
    training = record.training_record(run.settings, pruned.epochs, False)
    curves = dict(pruned.curves)
    result = record.ended(run.known, "pruned", run.seconds(), training=training, curves=curves)
    board.result(result)
    write_result(run.folder, result)
    console_of(run.settings["console"]).result(result, run.folder, run.settings["output_root"])
    return DONE


def reindex(source: Path, changes: Settings, overrides: Sequence[str] = (), trusted: Names = ()) -> int:
    """Build another index over a run's trained towers, into a new folder beside it; returns the exit status.

    Args:
        source: folder of the run that trained the towers.
        changes: the new `index`.
        overrides: what was typed.
        trusted: packages whose classes the run's files may name.
    """
    before, run, model = run_beside(source, changes, overrides, trusted)
    with run.recorded(screen_of(run.settings), BEGINS_ANEW), Board(run.folder) as board:
        board.start(run.settings, run.config_text(), run.overrides)
        dataset, evaluator = prepare(run, before)
        indexed = index_model(model, run.settings, dataset, evaluator)
        for name in (PER_USER, PER_USER_BASELINES):
            if (source / name).is_file():
                run.copy_table(source, name)
        result = before.plain(*record.OF_TOWERS) | {"training_reused_from": str(source)}
        result |= measure_cold_start(model, run.settings, dataset, evaluator)
        return finish(run, board, dataset, model, indexed, result)


def reevaluate(source: Path, changes: Settings, overrides: Sequence[str] = (), trusted: Names = ()) -> int:
    """Evaluate a run's towers again into a new folder beside it, without a bundle; returns the exit status.

    Args:
        source: folder of the run that trained the towers.
        changes: other `metrics` or `baselines`.
        overrides: what was typed.
        trusted: packages whose classes the run's files may name.
    """
    before, run, model = run_beside(source, changes, overrides, trusted)
    with run.recorded(screen_of(run.settings), BEGINS_ANEW), Board(run.folder) as board:
        board.start(run.settings, run.config_text(), run.overrides)
        dataset, evaluator = prepare(run, before)
        # After a refit these towers have seen the validation split; its figures are then the first phase's.
        seen = before.training.refit
        valid = None if seen else evaluate(model, dataset.valid, evaluator, dataset.train)
        quality = evaluate_on_test(run, model, valid, dataset, evaluator)
        result = before.plain(*record.OF_TOWERS, "index") | record.valid_figures(before, quality)
        result |= {"training_reused_from": str(source)}
        result |= measure_cold_start(model, run.settings, dataset, evaluator)
        return conclude(run, board, result)


def run_beside(
    source: Path, changes: Settings, overrides: Sequence[str], trusted: Names = ()
) -> tuple[Result, Run, TwoTower]:
    """Return a run's result, a new run beside it with changed settings, and its towers from the bundle.

    Raises:
        InputError: the run has not ended or has no bundle, or the changed settings do not go together.
    """
    from twotower.bundle.read import read_bundle

    run = Run.open(source, trusted)
    result = read_result(source)
    if result is None or not result.finished:
        pruned = result is not None and result.status == "pruned"
        remedy = "" if pruned else f"; finish it with scripts/train.py resume={source}"
        raise InputError(f"run={source}: this run {ending_of(result)}{remedy}")
    settings = run.settings | dict(changes)
    # Nothing is trained, so other metrics need not hold the one that the training monitored.
    problems = [problem for problem in problems_of(settings) if problem.key != "trainer.monitor"]
    raise_problems(problems, "the run's settings with these changes")
    model = read_bundle(source / "bundle", trusted).model
    shown = [text for text in overrides if not text.startswith("run=")]
    folder = run_folder(source.parent, shown)
    return result, Run.create(folder, settings, [*run.overrides, *shown]), model
