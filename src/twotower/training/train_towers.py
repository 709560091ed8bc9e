"""Train towers in two phases: choose the epoch on the validation split, then refit on train + valid."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from twotower.config.errors import InputError
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.files.atomic import write_text_atomically
from twotower.towers.two_tower import TwoTower
from twotower.training.batches import TrainBatches
from twotower.training.fit import (
    FIT,
    REFIT,
    FitResult,
    TrainContext,
    fit,
    load_phase,
    read_final,
)
from twotower.training.initialization.initialization import Initialization
from twotower.training.module import RetrievalModule
from twotower.training.parts import build_batches, build_module
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")
MANY_EMPTY = 0.8
"""Share of examples without a history above which a warning is logged."""


@dataclass(frozen=True)
class TrainedTowers:
    """Trained towers and the results of their phases.

    Attributes:
        model: with the weights that are indexed and served.
        valid: evaluates the best checkpoint of the first phase, which has not trained on the validation
            split; returns None if no such checkpoint exists.
        epochs: number of epochs of the best checkpoint.
        refit: whether the weights are from the second phase.
        seconds: of all phases.
        examples: number of training examples of all phases.
        temperature: of the loss; a probability is sigmoid(score / temperature).
        curves: of the first phase, key -> one value per epoch.
        epoch_steps: of the first phase; see `FitResult`.
        chosen: of the last phase; see `FitResult`.
    """

    model: TwoTower
    valid: Callable[[Evaluator], Report | None]
    epochs: int
    refit: bool
    seconds: float
    examples: int
    temperature: float
    curves: dict[str, list[float]]
    epoch_steps: int
    chosen: dict[str, float | None] = field(default_factory=dict)


def train_towers(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    context: TrainContext,
) -> TrainedTowers:
    """Train, choosing the epoch on the validation split; refit on train + valid if the settings ask for it.

    A phase that ended in an earlier process is loaded; an interrupted one resumes from its last checkpoint.

    Args:
        context: settings, folder and callbacks; the epoch callback is called in the first phase only.

    Raises:
        TrialPruned: the epoch callback stopped the training.
    """
    initialization = config.initialization.build()
    module, batches = initial_state(config, dataset, initialization, dataset.train, evaluator)
    _warn_of_empty_histories(batches)
    check_same_data(context.folder, dataset.identity)
    phases = [fit(context, module, batches, FIT)]
    valid = evaluate_valid(module, dataset, evaluator)
    if config.trainer.refit:
        module, batches = initial_state(config, dataset, initialization, dataset.train_and_valid, None)
        refit_context = replace(context, epoch_callback=None)
        phases.append(fit(refit_context, module, batches, REFIT, phases[0].epochs))
    return trained_towers(module, phases, lambda _: valid)


def initial_state(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    initialization: Initialization,
    interactions: Interactions,
    evaluator: Evaluator | None,
) -> tuple[RetrievalModule, TrainBatches]:
    """Return a module with its initial weights, and the batches to train it on."""
    config, chosen = config.resolve(interactions)
    batches = build_batches(config, interactions)
    module = build_module(config, dataset, interactions, len(batches), evaluator)
    module.chosen |= chosen
    module.initialize(initialization, interactions, config.trainer.monitor)
    return module, batches


def load_trained_towers(config: TrainingConfig, dataset: RetrievalDataset, folder: Path) -> TrainedTowers:
    """Load the towers of a run whose phases have ended.

    Args:
        config: settings of the training, equal to those of the run.
        folder: of the run; only read.
    """
    phases = [FIT, REFIT] if config.trainer.refit else [FIT]
    results = {name: read_final(folder, name)[1] for name in phases}

    def load_module(name: str) -> RetrievalModule:
        interactions = dataset.train_and_valid if name == REFIT else dataset.train
        module = build_module(config.with_chosen(results[name].chosen), dataset, interactions, 1, None)
        load_phase(module, folder, name)
        return module

    def valid(evaluator: Evaluator) -> Report:
        return evaluate_valid(load_module(FIT), dataset, evaluator)

    return trained_towers(load_module(phases[-1]), list(results.values()), valid)


def trained_towers(
    module: RetrievalModule, phases: Sequence[FitResult], valid: Callable[[Evaluator], Report | None]
) -> TrainedTowers:
    """Combine the module of the last phase with the results of the phases."""
    first = phases[0]
    return TrainedTowers(
        model=module.model.eval(),
        valid=valid,
        epochs=first.epochs,
        refit=len(phases) > 1,
        seconds=sum(result.seconds for result in phases),
        examples=sum(result.examples for result in phases),
        temperature=module.temperature,
        curves=first.curves,
        epoch_steps=first.epoch_steps,
        chosen=phases[-1].chosen,
    )


def evaluate_valid(module: RetrievalModule, dataset: RetrievalDataset, evaluator: Evaluator) -> Report:
    """Evaluate on the validation split."""
    model = module.model.eval()
    return evaluate_towers(model, dataset.valid, evaluator, dataset.train, module.temperature)


def check_same_data(folder: Path, fingerprint: str) -> None:
    """Write the fingerprint of the training data, or compare it with that of the interrupted run.

    Raises:
        InputError: the run was started on other data.
    """
    path = folder / "checkpoints" / "data_fingerprint"
    if path.is_file() and path.read_bytes() != fingerprint.encode():
        raise InputError(
            f"{folder}: the data has changed since this run was started (its content, its split or a file "
            "that a feature reads); restore the data, or start a new run"
        )
    write_text_atomically(path, fingerprint)


def _warn_of_empty_histories(batches: TrainBatches) -> None:
    share = batches.share_without_history()
    if batches.history_length and share > MANY_EMPTY:
        LOG.warning(
            "%.0f %% of the training examples have no history; with coarse or equal timestamps set "
            "history.strict=false",
            100 * share,
        )
