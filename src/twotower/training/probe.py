"""Settings of the optimizer that short trainings choose on the validation split."""

import json
import logging
import math
import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from twotower.config.errors import DivergenceError
from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.evaluator import Evaluator
from twotower.files.atomic import write_text_atomically
from twotower.training.batches import TrainBatches
from twotower.training.callbacks.hard_negative_refresh import HardNegativeRefresh
from twotower.training.fit import EXPECTED_WARNINGS, TrainContext
from twotower.training.module import RetrievalModule
from twotower.training.parts import FeatureTables, build_training
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")
MIN_STEPS = 100
"""Minimum number of steps of a probe, for small data sets with few steps per epoch."""


def probe(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    context: TrainContext,
    tables: FeatureTables | None = None,
) -> dict[str, float]:
    """Return setting of the optimizer -> value that the validation split chooses.

    Each value that the optimizer lists (`probe_rates`, `probe_decays`) trains an epoch, and at least
    `MIN_STEPS` steps, from the same initial weights with the same batches. The value with the best
    `trainer.monitor` is chosen, one setting after the other. The choice is kept in `checkpoints/probe.json`
    for a run that is resumed.
    """
    probes, path = config.optimizer.probes(), context.folder / "checkpoints" / "probe.json"
    chosen: dict[str, float] = {}
    if probes and path.is_file():
        chosen |= json.loads(path.read_text(encoding="utf-8"))
    if not probes or chosen:
        return chosen
    initialization = config.initialization.build()
    module, batches = build_training(config, dataset, dataset.train, evaluator, initialization, tables=tables)
    initial = deepcopy(module.state_dict())
    for key, values in probes.items():
        scores = {}
        for value in values:
            candidate = with_optimizer(config, chosen | {key: value})
            scores[value] = short_training(candidate, module, initial, batches)
        chosen[key] = max(scores, key=lambda value: (scores[value], -value))
        told = ", ".join(f"{abs(score):.4f} at {value:g}" for value, score in scores.items())
        LOG.info("optimizer.%s=%g (%s after a probe: %s)", key, chosen[key], config.trainer.monitor, told)
    write_text_atomically(path, json.dumps(chosen))
    return chosen


def with_optimizer(config: TrainingConfig, values: Mapping[str, float]) -> TrainingConfig:
    """Return the settings with other values of the optimizer."""
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update=dict(values))})


def short_training(
    config: TrainingConfig, module: RetrievalModule, initial: Mapping[str, Tensor], batches: TrainBatches
) -> float:
    """Return the validation score after a short training from initial weights; -inf if it diverges."""
    module.load_state_dict(initial)
    module.optimizer_choice, batches.number = config.optimizer.build(), 0
    arguments: dict[str, Any] = config.trainer.arguments() | {
        "max_epochs": max(1, math.ceil(MIN_STEPS / len(batches))),
        "limit_val_batches": 0,
    }
    trainer = pl.Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[HardNegativeRefresh(batches)] if module.negatives.config.refreshed_every() else [],
        use_distributed_sampler=False,
        **arguments,
    )
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        trainer.fit(module, batches)
    assert module.validation is not None
    try:
        return module.validation.score(module.model, config.trainer.monitor, module.temperature)
    except DivergenceError:
        return -math.inf
