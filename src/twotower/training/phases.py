"""The two phases of a training: choose on the validation split, then fit again on all before the test."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytorch_lightning import Callback

from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.indexing import Indexed
from twotower.towers.new_items.fit_new_items import fit_new_items
from twotower.towers.two_tower import TwoTower
from twotower.training.batches import TrainBatches
from twotower.training.callbacks.build_index import BuildIndex
from twotower.training.callbacks.rehearsal import Rehearsal
from twotower.training.empty_histories import warn_of_empty_histories
from twotower.training.fit import Fitted, fit
from twotower.training.initialization.initialization import Initialization
from twotower.training.initialization.random import Random
from twotower.training.large_tables import warn_of_large_tables
from twotower.training.module import RetrievalModule
from twotower.training.parts import build_batches, build_module
from twotower.training.phase_files import (
    FIT,
    FIT_RANDOM,
    REFIT,
    compared_initializations,
    ended_phase,
    final_path,
    first_phase,
    same_data,
)
from twotower.training.random_start import Attempt, better_attempt
from twotower.training.train_context import TrainContext
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")
NEW_ITEMS = "model.new_items."
"""Of weights that are made of the trained ones, so that any choice of it takes the same training."""


@dataclass(frozen=True)
class Trained:
    """Towers, how they came about and how they did on the validation split.

    Attributes:
        model: with the weights that are indexed and served.
        valid: evaluates the best checkpoint of the first phase, which never saw the validation split; None
            where there is none such.
        epochs: the best checkpoint's.
        refit: whether the weights are from the second phase.
        seconds: of both phases.
        examples: those of both phases.
        temperature: of the loss that goes with the weights; a probability is sigmoid(score / temperature).
        curves: of the first phase, key -> one value an epoch.
        epoch_steps: of the first phase; see `Fitted`.
        chosen: of the last phase; see `Fitted`.
        initialization: see `compared_initializations`.
        indexed: the index of these weights; None if this process has not built it.
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
    initialization: Mapping[str, Any] = field(default_factory=dict)
    indexed: Indexed | None = None


def train_towers(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    context: TrainContext,
) -> Trained:
    """Train, choosing the epoch on the validation split; refit on train + valid if the settings say so.

    A phase that ended before is not run again, one that was interrupted goes on from its last checkpoint.

    Args:
        config: of the training.
        dataset: split and encoded.
        evaluator: of the validation split.
        context: settings, folder and callbacks; the epoch callback is called in the first phase only.

    Raises:
        TrialPruned: the epoch callback stopped the training.
    """
    to_train, initialization = partial(_to_train, config, dataset), config.initialization.build()
    module, batches = to_train(initialization, dataset.train, evaluator)
    warn_of_empty_histories(batches)
    warn_of_large_tables(module.model)
    same_data(context.folder, dataset.identity)
    last = BuildIndex(context.index_catalogue)
    refit = config.trainer.refit
    rehearsal = Rehearsal(context.rehearse_index, batches)
    ends_here = not refit and not initialization.informed
    first = run_phase(context, module, batches, FIT, [rehearsal, last] if ends_here else [rehearsal])

    def train_from_random() -> Attempt:
        again = Random.Config().build()
        module, batches = to_train(again, dataset.train, evaluator)
        callback = context.epoch_callback
        time_only = None if callback is None else lambda epoch, _: callback(epoch, None)
        again_context = replace(context, epoch_callback=time_only)
        return Attempt(again, module, run_phase(again_context, module, batches, FIT_RANDOM, []))

    attempt = better_attempt(
        Attempt(initialization, module, first), train_from_random, config.trainer.monitor
    )
    module, fitted = attempt.module, [attempt.fitted]
    valid = evaluate_valid(module, dataset, evaluator)
    if refit:
        module, batches = to_train(attempt.initialization, dataset.train_and_valid, None)
        refit_context = replace(context, epoch_callback=None)
        fitted.append(run_phase(refit_context, module, batches, REFIT, [last], epochs=attempt.fitted.epochs))
    elif not ends_here:
        last.indexed = context.index_catalogue(module.model.eval())
    compared = compared_initializations(context.folder, initialization.name)
    return replace(trained_of(module, fitted, lambda _: valid, compared), indexed=last.indexed)


def _to_train(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    initialization: Initialization,
    interactions: Interactions,
    evaluator: Evaluator | None,
) -> tuple[RetrievalModule, TrainBatches]:
    """Return a module that stands where training starts, as one that is only loaded need not, and batches."""
    config, decided = config.of_log(interactions)
    batches = build_batches(config, interactions)
    module = build_module(config, dataset, interactions, len(batches), evaluator)
    module.chosen |= decided
    module.begin(initialization, interactions, config.trainer.monitor)
    return module, batches


def trained_before(config: TrainingConfig, dataset: RetrievalDataset, folder: Path) -> Trained:
    """Load the towers of a run whose phases have ended.

    Args:
        config: shapes training as the run's did.
        dataset: the one it was trained on.
        folder: of the run; only read.
    """
    first = first_phase(folder)
    phases = [first, REFIT] if config.trainer.refit else [first]
    fitted = {name: ended_phase(folder, name)[1] for name in phases}

    def module_of(name: str) -> RetrievalModule:
        interactions = dataset.train_and_valid if name == REFIT else dataset.train
        module = build_module(config.decided(fitted[name].chosen), dataset, interactions, 1, None)
        load_phase(module, folder, name)
        return module

    def valid(evaluator: Evaluator) -> Report:
        return evaluate_valid(module_of(first), dataset, evaluator)

    compared = compared_initializations(folder, config.initialization.build().name)
    return trained_of(module_of(phases[-1]), list(fitted.values()), valid, compared)


def trained_of(
    module: RetrievalModule,
    fitted: Sequence[Fitted],
    valid: Callable[[Evaluator], Report | None],
    initialization: Mapping[str, Any] = MappingProxyType({}),
) -> Trained:
    """Return the towers of a module whose phases have ended, and how these went."""
    first = fitted[0]
    return Trained(
        module.model.eval(),
        valid,
        first.epochs,
        len(fitted) > 1,
        sum(phase.seconds for phase in fitted),
        sum(phase.examples for phase in fitted),
        module.temperature,
        first.curves,
        first.epoch_steps,
        fitted[-1].chosen,
        initialization,
    )


def run_phase(
    context: TrainContext,
    module: RetrievalModule,
    batches: TrainBatches,
    name: str,
    callbacks: list[Callback],
    epochs: int | None = None,
) -> Fitted:
    """Run a phase, or load what it ended with in an earlier process; see `fit`."""
    if final_path(context.folder, name).is_file():
        LOG.info("%s had ended before", name)
        return load_phase(module, context.folder, name)
    return fit(context, module, batches, name, callbacks, epochs)


def load_phase(module: RetrievalModule, folder: Path, name: str) -> Fitted:
    """Load the weights a phase ended with: its best, or its last where nothing was monitored.

    Returns:
        How the phase went.

    Raises:
        InputError: its checkpoint is damaged, or another one.
    """
    checkpoint, fitted = ended_phase(folder, name)
    trained = {key: values for key, values in checkpoint["state_dict"].items() if NEW_ITEMS not in key}
    others = {key: values for key, values in module.state_dict().items() if NEW_ITEMS in key}
    module.load_state_dict(trained | others)
    fit_new_items(module.model)
    return fitted


def evaluate_valid(module: RetrievalModule, dataset: RetrievalDataset, evaluator: Evaluator) -> Report:
    """Evaluate on the validation split."""
    model = module.model.eval()
    return evaluate_towers(model, dataset.valid, evaluator, dataset.train, module.temperature)
