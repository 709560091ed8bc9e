"""The stages that the main job, re-indexing and re-evaluating have in common."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from twotower.config.errors import InputError
from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.config.problems import raise_problems
from twotower.config.spec import build
from twotower.data.audit import WARNING, audit_table
from twotower.data.build import build_dataset
from twotower.data.check_tables import Needs
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.history import History
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.evaluation.baselines.run import BaselineReports, request_time, run_baselines
from twotower.evaluation.cold_start import cold_start
from twotower.evaluation.encode import encode_catalogue
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.indexing import Indexed, index_catalogue
from twotower.evaluation.predict import rank_all
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.report import Report
from twotower.features.feature import Feature
from twotower.features.feature_table import column_faults
from twotower.pipeline.rules import check_sizes
from twotower.reports.console.choose import console_of
from twotower.reports.tensorboard import Board
from twotower.runs import record
from twotower.runs.directions import RECORDED
from twotower.runs.run import Run
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES
from twotower.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
Settings = Mapping[str, Any]


def prepare(run: Run, before: Mapping[str, Any] | None = None) -> tuple[RetrievalDataset, Evaluator]:
    """Load and split the data, print the audit, and check what depends on the catalogue's size.

    Args:
        run: is told what it is.
        before: the result of the run whose towers are used; the data must be what they were trained on.
    """
    settings = run.settings
    cache = Path(settings["output_root"]) / ".cache"
    source = build(settings["data"], Source)
    split = build(settings["split"], Split)
    anew = not settings.get("cache", True)
    dataset = build_dataset(source, split, cache, anew=anew, needs=needs_of(settings))
    run.facts |= record.identity(settings, dataset.fingerprint, run.overrides)
    if before is not None and before["data"]["fingerprint"] != dataset.fingerprint:
        raise InputError(
            "data: not what these towers were trained on (content or split has changed, or the run is of an "
            "earlier version), so rows could name other items; bring the data back, or train again"
        )
    evaluator = build(settings["metrics"], Evaluator)
    if WARNING in dataset.audit:
        LOG.warning("warning: %s", dataset.audit[WARNING])
    console_of(settings["console"]).audit(audit_table(dataset.audit | {"seen_filter": evaluator.filter_seen}))
    raise_problems(check_sizes(settings, len(dataset.items)))
    if holds_items_out(dataset):  # so there will be an index without them, too
        raise_problems(check_sizes(settings, len(np.unique(dataset.train_and_valid.items))))
    known = (before or {}).get(RECORDED, {}) | evaluator.higher_is_better()
    run.facts |= {"data": record.data_record(dataset, evaluator.filter_seen), RECORDED: known}
    return dataset, evaluator


def needs_of(settings: Settings) -> Needs:
    """Return what the features of a configuration need of the tables of users and of items."""

    def needs(table: str, frame: pd.DataFrame, origin: str) -> list[str]:
        specs = settings["features"][table.removesuffix("s")]
        return column_faults({name: build(spec, Feature) for name, spec in specs.items()}, frame, origin)

    return needs


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


def evaluate_on_test(
    run: Run, model: TwoTower, valid: Report | None, dataset: RetrievalDataset, evaluator: Evaluator
) -> dict[str, Any]:
    """Evaluate towers and baselines on the test split; writes the users' values, returns the record."""
    test = evaluate(model, dataset.test, evaluator, dataset.train_and_valid)
    baselines = run_all_baselines(run.settings, dataset, evaluator)
    run.write_table(PER_USER, _with_user_ids(test, dataset))
    run.write_table(
        PER_USER_BASELINES,
        pd.concat(
            [
                _with_user_ids(report, dataset).assign(baseline=name)
                for name, report in baselines["test"].reports.items()
            ]
            or [_with_user_ids(test, dataset).head(0).assign(baseline="")],
            ignore_index=True,
        ),
    )
    return record.quality_record(valid, test, baselines)


def holds_items_out(dataset: RetrievalDataset) -> bool:
    """Tell whether the split keeps items from training, as `split=item_cold` does."""
    return bool(dataset.audit.get("held_out_items"))


def measure_cold_start(
    model: TwoTower, settings: Settings, dataset: RetrievalDataset, evaluator: Evaluator
) -> dict[str, Any]:
    """Return the part `cold_start` of the record; nothing where the split holds no items out."""
    if not holds_items_out(dataset):
        return {}
    return {"cold_start": cold_start(model, settings["index"], dataset, evaluator)}


def run_all_baselines(
    settings: Settings, dataset: RetrievalDataset, evaluator: Evaluator
) -> dict[str, BaselineReports]:
    """Run the baselines on both splits, each fitted on all that came before its split."""
    before = {"valid": (dataset.valid, dataset.train), "test": (dataset.test, dataset.train_and_valid)}
    return {
        name: run_baselines(settings["baselines"], evaluator, holdout, log, len(dataset.items))
        for name, (holdout, log) in before.items()
    }


def _with_user_ids(report: Report, dataset: RetrievalDataset) -> pd.DataFrame:
    rows = report.per_user["user"].to_numpy()
    table = report.per_user.drop(columns="user")
    table.insert(0, "user_id", np.asarray(dataset.users.ids(rows)))
    return table


def finish(
    run: Run,
    board: Board,
    dataset: RetrievalDataset,
    model: TwoTower,
    indexed: Indexed,
    result: Mapping[str, Any],
) -> int:
    """Write the bundle, then record and show everything; returns the exit status."""
    from twotower.bundle.write import write_bundle

    report = indexed.report.to_dict()
    bundle = run.folder / "bundle"
    if bundle.exists():  # of an earlier process that ended before it could say so
        shutil.rmtree(bundle)
    write_bundle(
        bundle,
        settings=run.settings,
        fingerprint=run.facts["fingerprint"],
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
    return conclude(run, board, {**result, "index": report})


def conclude(run: Run, board: Board, result: Mapping[str, Any]) -> int:
    """Write `result.json` and TensorBoard's final figures, print the table; returns the exit status."""
    ok = result["index"]["ok"]
    whole = record.whole(run.facts | dict(result), "ok" if ok else "index_rejected", run.seconds())
    board.result(whole)
    run.write_result(whole)
    console_of(run.settings["console"]).result(whole, run.folder, run.settings["output_root"])
    return DONE if ok else INDEX_REJECTED
