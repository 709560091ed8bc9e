"""Train towers in two phases: choose the epoch on the validation split, then refit on train + valid."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twotower.config.errors import DivergenceError, InputError
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.files.atomic import write_text_atomically
from twotower.towers.two_tower import TwoTower
from twotower.training.batches import TrainBatches
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import (
    FIT,
    FIT_RANDOM,
    REFIT,
    FitResult,
    TrainContext,
    final_path,
    fit,
    load_phase,
    read_final,
)
from twotower.training.initialization.initialization import Initialization
from twotower.training.initialization.random import Random
from twotower.training.module import RetrievalModule
from twotower.training.parts import build_batches, build_module
from twotower.training.sparse_tables import warn_of_large_tables
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
        initialization: see `compared_initializations`.
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


@dataclass(frozen=True)
class Attempt:
    """A first phase that has ended, with its initialization."""

    initialization: Initialization
    module: RetrievalModule
    result: FitResult


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
    warn_of_large_tables(module.model)
    check_same_data(context.folder, dataset.identity)
    attempt = Attempt(initialization, module, fit(context, module, batches, FIT, rehearses=True))

    def train_from_random() -> Attempt:
        random = Random.Config().build()
        module, batches = initial_state(config, dataset, random, dataset.train, evaluator)
        callback = context.epoch_callback
        without_metric = None if callback is None else lambda epoch, _: callback(epoch, None)
        random_context = replace(context, epoch_callback=without_metric)
        return Attempt(random, module, fit(random_context, module, batches, FIT_RANDOM))

    attempts = [attempt]
    if not attempt.result.improved:
        attempts += compare_with_random(attempt, train_from_random, config.trainer.monitor)
    best = max(attempts, key=lambda each: each.result.score or 0.0)
    module, phases = best.module, [best.result]
    valid = evaluate_valid(module, dataset, evaluator)
    if config.trainer.refit:
        interactions = dataset.train_and_valid
        module, batches = initial_state(config, dataset, best.initialization, interactions, None)
        refit_context = replace(context, epoch_callback=None)
        phases.append(fit(refit_context, module, batches, REFIT, best.result.epochs))
    compared = compared_initializations(context.folder, initialization.name)
    others = [each.result for each in attempts if each is not best]
    return trained_towers(module, phases, lambda _: valid, compared, others)


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
    first = better_first_phase(folder)
    phases = [first, REFIT] if config.trainer.refit else [first]
    results = {name: read_final(folder, name)[1] for name in phases}

    def load_module(name: str) -> RetrievalModule:
        interactions = dataset.train_and_valid if name == REFIT else dataset.train
        module = build_module(config.with_chosen(results[name].chosen), dataset, interactions, 1, None)
        load_phase(module, folder, name)
        return module

    def valid(evaluator: Evaluator) -> Report:
        return evaluate_valid(load_module(first), dataset, evaluator)

    compared = compared_initializations(folder, config.initialization.build().name)
    return trained_towers(load_module(phases[-1]), list(results.values()), valid, compared)


def trained_towers(
    module: RetrievalModule,
    phases: Sequence[FitResult],
    valid: Callable[[Evaluator], Report | None],
    initialization: Mapping[str, Any] = MappingProxyType({}),
    others: Sequence[FitResult] = (),
) -> TrainedTowers:
    """Combine the module of the last phase with the results of the phases; `others` only took time."""
    first, every = phases[0], [*phases, *others]
    return TrainedTowers(
        model=module.model.eval(),
        valid=valid,
        epochs=first.epochs,
        refit=len(phases) > 1,
        seconds=sum(result.seconds for result in every),
        examples=sum(result.examples for result in every),
        temperature=module.temperature,
        curves=first.curves,
        epoch_steps=first.epoch_steps,
        chosen=phases[-1].chosen,
        initialization=initialization,
    )


def evaluate_valid(module: RetrievalModule, dataset: RetrievalDataset, evaluator: Evaluator) -> Report:
    """Evaluate on the validation split."""
    model = module.model.eval()
    return evaluate_towers(model, dataset.valid, evaluator, dataset.train, module.temperature)


def compare_with_random(
    first: Attempt, train_from_random: Callable[[], Attempt], monitor: str
) -> list[Attempt]:
    """Train from random embeddings, too, and log which initialization is better; empty if that diverges.

    Args:
        first: from the initialization of the settings; no epoch improved on its initial embeddings.

    Raises:
        TrialPruned: the epoch callback stopped the second training; with the curves of `first`.
    """
    one, name = first.result, first.initialization.name
    LOG.info(
        "no epoch improved on the embeddings of initialization=%s: initialization=random is trained too", name
    )
    try:
        second = train_from_random()
    except DivergenceError as error:
        LOG.warning("initialization=random was compared, too: %s; initialization=%s is used", error, name)
        return []
    except TrialPruned as pruned:
        raise TrialPruned(one.epochs, one.curves) from pruned
    before, after = one.score or 0.0, second.result.score or 0.0
    scores = (
        f"{monitor} {abs(before):.4f} with initialization={name}, {abs(after):.4f} with initialization=random"
    )
    if after > before:
        LOG.warning(
            "the better initialization on the validation split is used, initialization=random: %s", scores
        )
    else:
        LOG.warning(
            "no epoch improved on the embeddings of initialization=%s, which is used: %s; try a "
            "lower optimizer.learning_rate, or more trainer.patience",
            *(name, scores),
        )
    return [second]


def better_first_phase(folder: Path) -> str:
    """Return the first phase with the better score: `FIT`, or `FIT_RANDOM` if that was trained and better."""
    scores = _first_phase_scores(folder)
    return max(scores, key=lambda phase: scores[phase]) if scores else FIT


def compared_initializations(folder: Path, name: str) -> dict[str, Any]:
    """Return the better initialization and both scores for `result.json`; empty if one was trained."""
    scores = _first_phase_scores(folder)
    if not scores:
        return {}
    names = {FIT: name, FIT_RANDOM: "random"}
    return {
        "initialization": names[better_first_phase(folder)],
        "initialization_scores": {names[phase]: abs(score) for phase, score in scores.items()},
    }


def _first_phase_scores(folder: Path) -> dict[str, float]:
    if not final_path(folder, FIT_RANDOM).is_file():
        return {}
    return {phase: read_final(folder, phase)[1].score or 0.0 for phase in (FIT, FIT_RANDOM)}


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
