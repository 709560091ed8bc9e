"""Compare a training with one from random embeddings, if no epoch improved on the initial embeddings."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from twotower.config.errors import DivergenceError
from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.evaluator import Evaluator
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.checkpoints import FIT, FIT_RANDOM, FitResult, final_path, read_final
from twotower.training.fit import TrainContext, fit
from twotower.training.initialization.initialization import Initialization
from twotower.training.initialization.random import Random
from twotower.training.module import RetrievalModule
from twotower.training.parts import build_training
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")


class Attempt(NamedTuple):
    """A first phase that has ended, with its initialization."""

    initialization: Initialization
    module: RetrievalModule
    result: FitResult


def never_better(attempt: Attempt, monitor: str) -> bool:
    """Return whether no epoch was better than the initial embeddings, which were kept, not even by chance."""
    assert attempt.module.validation is not None
    sign = -1 if attempt.module.validation.mode(monitor) == "min" else 1
    best = attempt.result.score or 0.0
    return all(sign * value <= best for value in attempt.result.curves.get(monitor, []))


def compare_with_random(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    context: TrainContext,
    first: Attempt,
) -> list[Attempt]:
    """Train from random embeddings, too, and log which initialization is better; empty if that diverges.

    The epoch callback is called without a metric: it may stop the training, but receives one curve only.

    Args:
        first: from the initialization of the settings; no epoch improved on its initial embeddings.

    Raises:
        TrialPruned: the epoch callback stopped the second training; with the curves of the first.
    """
    name, monitor = config.initialization.build().name, config.trainer.monitor
    LOG.info(
        "no epoch improved on the embeddings of initialization=%s: initialization=random is trained too", name
    )
    random, callback = Random.Config().build(), context.epoch_callback
    without_metric = None if callback is None else lambda epoch, _: callback(epoch, None)
    context = replace(context, epoch_callback=without_metric, rival=first.module.initial_values)
    try:
        module, batches = build_training(config, dataset, dataset.train, evaluator, random)
        second = Attempt(random, module, fit(context, module, batches, FIT_RANDOM))
    except DivergenceError as error:
        LOG.warning("initialization=random was compared, too: %s; initialization=%s is used", error, name)
        return []
    except TrialPruned as pruned:
        raise TrialPruned(first.result.epochs, first.result.curves) from pruned
    before, after = first.result.score or 0.0, second.result.score or 0.0
    scores = (
        f"{monitor} {abs(before):.4f} with initialization={name}, {abs(after):.4f} with initialization=random"
    )
    if is_better(second.result, first.result):
        LOG.warning(
            "the better initialization on the validation split is used, initialization=random: %s", scores
        )
    else:
        LOG.warning(
            "no training improved on the embeddings of initialization=%s by %g standard errors, so these are "
            "used: %s; try optimizer.schedule=plateau, which lowers the learning rate, or "
            "trainer.min_standard_errors=0, which accepts any improvement",
            *(name, config.trainer.min_standard_errors, scores),
        )
    return [second]


def is_better(second: FitResult, first: FitResult) -> bool:
    """Return whether the phase from `initialization=random` is better than the first one."""
    return second.improved and (second.score or 0.0) > (first.score or 0.0)


def better_first_phase(folder: Path) -> str:
    """Return the better first phase: `FIT`, or `FIT_RANDOM` if that was trained and is better."""
    results = _first_phases(folder)
    return FIT_RANDOM if results and is_better(results[FIT_RANDOM], results[FIT]) else FIT


def compared_initializations(folder: Path, name: str) -> dict[str, Any]:
    """Return the better initialization and both scores for `result.json`; empty if one was trained."""
    results = _first_phases(folder)
    if not results:
        return {}
    names = {FIT: name, FIT_RANDOM: "random"}
    return {
        "initialization": names[better_first_phase(folder)],
        "initialization_scores": {names[phase]: abs(each.score or 0.0) for phase, each in results.items()},
    }


def _first_phases(folder: Path) -> dict[str, FitResult]:
    """Return the results of both first phases; empty if one was trained."""
    if not final_path(folder, FIT_RANDOM).is_file():
        return {}
    return {phase: read_final(folder, phase)[1] for phase in (FIT, FIT_RANDOM)}
