"""Train towers in two phases: choose the epoch on the validation split, then refit on train + valid."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.feature_importance import feature_importance
from twotower.evaluation.new_item_curve import new_item_curve
from twotower.files.atomic import write_text_atomically
from twotower.model.towers.two_tower import TwoTower
from twotower.parallel.ranks import is_first
from twotower.training.batches import TrainBatches
from twotower.training.checkpoints import (
    FIT,
    REFIT,
    FitResult,
    load_final,
    read_final,
)
from twotower.training.fit import TrainContext, fit
from twotower.training.module import RetrievalModule
from twotower.training.parts import (
    FeatureTables,
    build_module,
    build_towers,
    build_training,
    fit_tables,
    warn_of_large_tables,
)
from twotower.training.selection.initial_share import INITIAL_SHARE
from twotower.training.selection.probe import probe
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")
MANY_EMPTY = 0.8
"""Share of examples without a history above which a warning is logged, if most validation users have one."""


@dataclass(frozen=True)
class TrainedTowers:
    """Trained towers and the results of their phases.

    Attributes:
        model: with the weights that are indexed and served.
        temperature: of the loss; a probability is sigmoid(score / temperature).
        result: of the first phase, with the time and the examples of all phases and what the last one chose.
        refit: whether the weights are from the second phase.
        valid: evaluation of the best checkpoint of the first phase, which has not trained on the validation
            split; None if no such checkpoint exists, or without an evaluator.
        report_parts: parts of the result on the validation split, for the towers of `valid`.
        parent_fields: parts of the result on the run that the towers come from; empty if trained here.
        fitted_on: description of the training data, if it differs from the data of a first training.
    """

    model: TwoTower
    temperature: float
    result: FitResult
    refit: bool
    valid: Report | None = None
    report_parts: Mapping[str, Any] = field(default_factory=dict)
    parent_fields: Mapping[str, Any] = field(default_factory=dict)
    fitted_on: str | None = None


def train_towers(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    context: TrainContext,
    tables: FeatureTables | None = None,
) -> TrainedTowers:
    """Train, choosing the epoch on the validation split; refit on train + valid if the settings ask for it.

    A phase that ended in an earlier process is loaded; an interrupted one resumes from its last checkpoint.

    Args:
        context: settings, folder and callbacks; the epoch callback is called in the first phase only.
        tables: features of the first phase (`fit_tables` of the training split); None: computed.

    Raises:
        TrialPruned: the epoch callback stopped the training.
    """
    check_same_data(context.folder, dataset.identity)
    initialization = config.initialization.build()
    module, batches = build_training(config, dataset, dataset.train, evaluator, initialization, tables)
    _warn_of_empty_histories(batches, dataset.valid)
    warn_of_large_tables(module.model)
    chosen = probe(config, module, batches, context)
    context = replace(context, chosen=chosen)
    module.optimizer_choice = config.optimizer.build()
    results = [fit(context, module, batches, FIT)]
    valid = evaluate_valid(module, dataset, evaluator)
    parts = report_parts(config, module, dataset, evaluator)
    if config.trainer.refit:
        first = results[0]
        module, batches = build_training(config, dataset, dataset.train_and_valid, None, initialization)
        module.set_chosen(first.chosen)
        update: dict[str, Any] = {"max_epochs": first.epochs}
        if INITIAL_SHARE in first.chosen:
            update["initial_share"] = module.chosen[INITIAL_SHARE] = first.chosen[INITIAL_SHARE]
        context = replace(
            context,
            trainer=context.trainer.model_copy(update=update),
            rehearse_index=None,
            epoch_callback=None,
        )
        results.append(fit(context, module, batches, REFIT))
    return replace(trained_towers(module, results, config.trainer.refit, valid), report_parts=parts)


def load_trained_towers(
    config: TrainingConfig, dataset: RetrievalDataset, folder: Path, evaluator: Evaluator | None
) -> TrainedTowers:
    """Load the towers of a run whose phases have ended.

    Args:
        config: settings of the training, equal to the settings of the run.
        folder: of the run; only read.
        evaluator: evaluates on the validation split; None: no evaluation.
    """

    def load(phase: str, interactions: Interactions) -> tuple[RetrievalModule, FitResult]:
        checkpoint, result = read_final(folder, phase)
        tables, chosen = fit_tables(config, dataset, interactions), config.with_chosen(result.chosen)
        module = build_module(chosen, build_towers(chosen, dataset, interactions, tables), interactions)
        load_final(module, checkpoint)
        return module, result

    refit, valid = config.trainer.refit, None
    parts: Mapping[str, Any] = {}
    if refit and evaluator is None:  # only the result of the first phase is needed
        results = [read_final(folder, FIT)[1]]
    else:
        module, result = load(FIT, dataset.train)
        results = [result]
        if evaluator is not None:
            valid = evaluate_valid(module, dataset, evaluator)
            parts = report_parts(config, module, dataset, evaluator)
    if refit:
        module, second = load(REFIT, dataset.train_and_valid)
        results.append(second)
    return replace(trained_towers(module, results, refit, valid), report_parts=parts)


def trained_towers(
    module: RetrievalModule, results: Sequence[FitResult], refit: bool, valid: Report | None
) -> TrainedTowers:
    """Combine the module of the last phase with the results of all phases.

    Args:
        results: of the first phase, then of the refit if there is one.
    """
    result = replace(
        results[0],
        seconds=sum(each.seconds for each in results),
        examples=sum(each.examples for each in results),
        chosen=results[-1 if refit else 0].chosen,
    )
    return TrainedTowers(module.model.eval(), module.temperature, result, refit, valid)


def evaluate_valid(module: RetrievalModule, dataset: RetrievalDataset, evaluator: Evaluator) -> Report:
    """Evaluate on the validation split."""
    model = module.model.eval()
    return evaluate_towers(model, dataset.valid, evaluator, dataset.train, module.temperature)


def report_parts(
    config: TrainingConfig, module: RetrievalModule, dataset: RetrievalDataset, evaluator: Evaluator
) -> dict[str, Any]:
    """Return the importance of the features and the curve of new items on the validation split, if any."""
    arguments = (module.model.eval(), dataset.valid, evaluator, dataset.train, config.trainer.monitor)
    parts = {"feature_importance": feature_importance(*arguments), "new_items": new_item_curve(*arguments)}
    return {key: part for key, part in parts.items() if part}


def check_same_data(folder: Path, fingerprint: str) -> None:
    """Write the fingerprint of the training data, or compare it with the interrupted run.

    Raises:
        InputError: the run was started on other data.
    """
    path = folder / "checkpoints" / "data_fingerprint"
    if path.is_file() and path.read_bytes() != fingerprint.encode():
        raise InputError(
            f"{folder}: the data has changed since this run was started (its content, its split or a file "
            "that a feature reads); restore the data, or start a new run"
        )
    if is_first():
        write_text_atomically(path, fingerprint)


def _warn_of_empty_histories(batches: TrainBatches, valid: Holdout) -> None:
    share = batches.share_without_history()
    valid_share = float((valid.history.counts()[valid.users] > 0).mean())
    if batches.history_length and share > MANY_EMPTY and valid_share > 1 / 2:
        LOG.warning(
            "%.0f %% of the training examples have no history, %.0f %% of the validation users have one; %s",
            100 * share,
            100 * valid_share,
            batches.empty_history_remedy,
        )
