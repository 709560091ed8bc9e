"""The pipeline, as it reads: settings in; trained towers, a checked index, a record and a bundle out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twotower.check import check
from twotower.data.audit import audit_table
from twotower.data.build import build_dataset
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.history import History
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.errors import InputError
from twotower.evaluation.baselines.run import BaselineReports, request_time, run_baselines
from twotower.evaluation.encode import encode_catalogue
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.indexing import Indexed, index_catalogue
from twotower.evaluation.predict import rank_all
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.report import Report
from twotower.experiments import console, record
from twotower.experiments.fingerprint import fingerprint
from twotower.experiments.run import Run, run_folder
from twotower.experiments.tensorboard import Board
from twotower.problems import raise_problems
from twotower.rules import check_sizes
from twotower.spec import build
from twotower.towers.two_tower import TwoTower

DONE, INDEX_REJECTED = 0, 3
Settings = Mapping[str, Any]


def train(settings: Settings, folder: Path) -> int:
    """Run the main job into a new run folder; returns the exit status."""
    return _train(Run.create(folder, settings), settings)


def resume(folder: Path) -> int:
    """Go on with a run that was interrupted, to the same numbers; returns the exit status.

    Raises:
        InputError: there is no run, or it has ended.
    """
    run = Run.open(folder)
    result = run.result()
    if result is not None and result["status"] != "failed":
        raise InputError(f"{folder}: this run has ended ({result['status']}); there is nothing to resume")
    settings = run.settings()
    raise_problems(check(settings), f"{folder}/config.yaml")
    return _train(run, settings)


def _train(run: Run, settings: Settings) -> int:
    from twotower.training.phases import train_towers

    with run.recorded(), Board(run.folder / "tensorboard") as board:
        board.start(settings, run.config_text())
        dataset, evaluator = prepare(settings)
        indexed: list[Indexed] = []

        def index(model: TwoTower) -> None:
            indexed[:] = [index_model(model, settings, dataset, evaluator)]

        trained = train_towers(settings, dataset, evaluator, run.folder, index)
        if not indexed:  # all phases had ended in an earlier process
            index(trained.model)
        test = evaluate(trained.model, dataset.test, evaluator, dataset.train_and_valid)
        result = {
            "fingerprint": fingerprint(settings, dataset.fingerprint),
            "seed": settings["seed"],
            "data": record.data_record(dataset, evaluator.filter_seen),
            **record.quality_record(trained.valid, test, run_all_baselines(settings, dataset, evaluator)),
            "training": record.training_record(settings, trained.epochs, trained.refit),
            "timing": record.timing_record(trained.seconds, trained.interactions),
        }
        write_per_user(run, dataset, test)
        return finish(run, board, settings, dataset, trained.model, indexed[0], result)


def reindex(source: Path, changes: Settings) -> int:
    """Build another index over a run's trained towers, into a new folder beside it; returns the exit status.

    Args:
        source: folder of the run that trained the towers.
        changes: the new `index`.
    """
    before, settings, model = trained_run(source, changes)
    run = Run.create(run_folder(source.parent), settings)
    with run.recorded(), Board(run.folder / "tensorboard") as board:
        board.start(settings, run.config_text())
        dataset, evaluator = prepare(settings, before)
        indexed = index_model(model, settings, dataset, evaluator)
        result = {key: value for key, value in before.items() if key not in record.OF_A_RUN} | {
            "fingerprint": fingerprint(settings, dataset.fingerprint),
            "training_reused_from": str(source),
        }
        run.copy_table(source, "per_user.parquet")
        return finish(run, board, settings, dataset, model, indexed, result)


def reevaluate(source: Path, changes: Settings) -> int:
    """Evaluate a run's towers again into a new folder beside it, without a bundle; returns the exit status.

    Args:
        source: folder of the run that trained the towers.
        changes: other `metrics` or `baselines`.
    """
    before, settings, model = trained_run(source, changes)
    run = Run.create(run_folder(source.parent), settings)
    with run.recorded(), Board(run.folder / "tensorboard") as board:
        board.start(settings, run.config_text())
        dataset, evaluator = prepare(settings, before)
        test = evaluate(model, dataset.test, evaluator, dataset.train_and_valid)
        # After a refit these towers have seen the validation split; its figures are then the first phase's.
        seen = before["training"]["refit"]
        valid = None if seen else evaluate(model, dataset.valid, evaluator, dataset.train)
        quality = record.quality_record(valid, test, run_all_baselines(settings, dataset, evaluator))
        result = record.with_valid_of(before, before | quality) | {
            "fingerprint": fingerprint(settings, dataset.fingerprint),
            "training_reused_from": str(source),
        }
        write_per_user(run, dataset, test)
        return conclude(run, board, settings, result)


def trained_run(folder: Path, changes: Settings) -> tuple[dict[str, Any], dict[str, Any], TwoTower]:
    """Return a run's result, its settings with changes checked anew, and its towers from the bundle.

    Raises:
        InputError: the run has not ended or has no bundle, or the changed settings do not go together.
    """
    from twotower.bundle.read import read_bundle

    run = Run.open(folder)
    result = run.result()
    if result is None or result["status"] == "failed":
        state = "has not ended" if result is None else "failed"
        raise InputError(f"run={folder}: this run {state}; finish it with scripts/train.py resume={folder}")
    settings = run.settings() | dict(changes)
    # Nothing is trained, so other metrics need not hold the one that the training monitored.
    problems = [problem for problem in check(settings) if problem.key != "trainer.monitor"]
    raise_problems(problems, "the run's settings with these changes")
    return result, settings, read_bundle(folder / "bundle").model


def prepare(
    settings: Settings, before: Mapping[str, Any] | None = None
) -> tuple[RetrievalDataset, Evaluator]:
    """Load and split the data, print the audit, and check what depends on the catalogue's size.

    Args:
        settings: plain checked values.
        before: the result of the run whose towers are used; the data must be what they were trained on.
    """
    cache = Path(settings["output_root"]) / ".cache"
    source = build(settings["data"], Source)
    split = build(settings["split"], Split)
    dataset = build_dataset(source, split, cache)
    if before is not None and before["data"]["fingerprint"] != dataset.fingerprint:
        raise InputError(
            "data: not what these towers were trained on (content or split has changed), so rows would name "
            "other items; bring the data back, or train again"
        )
    evaluator = build(settings["metrics"], Evaluator)
    console.audit_table(audit_table(dataset.audit | {"seen_filter": evaluator.filter_seen}))
    raise_problems(check_sizes(settings, len(dataset.items)))
    return dataset, evaluator


def index_model(
    model: TwoTower, settings: Settings, dataset: RetrievalDataset, evaluator: Evaluator
) -> Indexed:
    """Build, tune and check the index with the validation users as queries."""
    popularity = item_popularity(dataset.train, len(dataset.items))
    return index_catalogue(model, settings["index"], dataset.valid, evaluator, popularity)


def evaluate(model: TwoTower, holdout: Holdout, evaluator: Evaluator, log: History) -> Report:
    """Evaluate towers by exact search; `log`, what came before the holdout, says what is popular or cold."""
    items = encode_catalogue(model)
    _, top = rank_all(model, items, holdout, evaluator.max_k, evaluator.filter_seen)
    return evaluator.evaluate(top, holdout, item_popularity(log, len(items)))


def run_all_baselines(
    settings: Settings, dataset: RetrievalDataset, evaluator: Evaluator
) -> dict[str, BaselineReports]:
    """Run the baselines on both splits, each fitted on all that came before its split."""
    before = {"valid": (dataset.valid, dataset.train), "test": (dataset.test, dataset.train_and_valid)}
    return {
        name: run_baselines(settings["baselines"], evaluator, holdout, log, len(dataset.items))
        for name, (holdout, log) in before.items()
    }


def write_per_user(run: Run, dataset: RetrievalDataset, test: Report) -> None:
    """Write each test user's metric values, under the user's own id."""
    rows = test.per_user["user"].to_numpy()
    table = test.per_user.drop(columns="user")
    table.insert(0, "user_id", np.asarray(dataset.users.ids(rows)))
    run.write_table("per_user.parquet", table)


def finish(
    run: Run,
    board: Board,
    settings: Settings,
    dataset: RetrievalDataset,
    model: TwoTower,
    indexed: Indexed,
    result: dict[str, Any],
) -> int:
    """Write the bundle, then record and show everything; returns the exit status."""
    from twotower.bundle.write import write_bundle

    report = indexed.report.to_dict()
    write_bundle(
        run.folder / "bundle",
        settings=settings,
        fingerprint=result["fingerprint"],
        model=model,
        index=indexed.index,
        item_vectors=indexed.vectors,
        dataset=dataset,
        history=dataset.test.history,
        index_report=report,
        request_time=request_time(dataset.test, dataset.train_and_valid),
    )
    board.index_curve(report["points"], report["target_recall"], report["search_args"])
    labels = dataset.item_table[dataset.item_label or "item_id"].astype(str).tolist()
    board.projector(indexed.vectors, labels)
    return conclude(run, board, settings, result | {"index": report})


def conclude(run: Run, board: Board, settings: Settings, result: dict[str, Any]) -> int:
    """Write `result.json` and TensorBoard's final figures, print the table; returns the exit status."""
    ok = result["index"]["ok"]
    whole = record.whole(result, "ok" if ok else "index_rejected", run.seconds())
    board.metrics(record.final_scalars(whole))
    board.outcome = whole["status"]
    run.write_result(whole)
    console.result_table(whole)
    console.say(f"run folder  {run.folder}")
    console.say(f"compare     tensorboard --logdir {settings['output_root']}")
    return DONE if ok else INDEX_REJECTED
