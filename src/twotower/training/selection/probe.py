"""Settings that short trainings choose on the validation split."""

import json
import logging
import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from twotower.config.errors import DivergenceError
from twotower.evaluation.user_values import exceeds
from twotower.files.atomic import write_text_atomically
from twotower.parallel.ranks import is_first
from twotower.training.batches import TrainBatches
from twotower.training.callbacks.hard_negative_refresh import HardNegativeRefresh
from twotower.training.fit import TrainContext, quiet_lightning
from twotower.training.module import RetrievalModule
from twotower.training.strategy import process_arguments, process_callbacks
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")
MAX_STEPS = 1_000
"""Number of steps after which an epoch of a short training ends, for large data sets."""
Chosen = dict[str, float | None]


def probe(
    config: TrainingConfig, module: RetrievalModule, batches: TrainBatches, context: TrainContext
) -> Chosen:
    """Return setting -> value that the validation split chooses.

    Towers with and without the layers of `widths=auto` train an epoch, at least `trainer.probe_steps` steps,
    or `MAX_STEPS` of a longer one, from the same initial weights with the same batches. The layers must be
    better by one standard error of `trainer.monitor`, else their widths are null. `checkpoints/probe.json`
    has the choice, for a run that is resumed.

    Args:
        module: with the initial weights, which it has again afterwards.
        batches: of the training; afterwards, the first batch is next.
    """
    path = context.folder / "checkpoints" / "probe.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    if (
        not config.trainer.probe_steps
        or config.trainer.initial_share == 1
        or not config.has_optional_layers()
    ):
        return {}
    initial = deepcopy(module.state_dict())
    if context.rehearse_index is not None:
        context.rehearse_index()  # before any training: see `rehearse_training`

    def train() -> BestEpoch:
        best = short_training(config, module, batches)
        module.load_state_dict(initial)
        batches.number = 0
        return best

    chosen: Chosen = {}
    if layers := module.model.optional_layers():
        module.model.skip_optional_layers(True)
        without = train()
        module.model.skip_optional_layers(False)
        with_layers = train()
        message = _describe_scores({"without": without.score, "with": with_layers.score}, config)
        if with_layers.exceeds(without):
            LOG.debug("features: the towers read them (%s)", message)
        else:
            module.model.skip_optional_layers(True)
            chosen |= {f"{key}.widths": None for key in layers}
            LOG.warning(
                "features: reading them did not improve validation, so they are used for new items only; "
                "user_tower.widths=[] item_tower.widths=[] always reads them (%s)",
                message,
            )
    if is_first():
        write_text_atomically(path, json.dumps(chosen))
    return chosen


def _describe_scores(scores: Mapping[str, float], config: TrainingConfig) -> str:
    texts = {what: "diverged" if math.isinf(score) else f"{abs(score):.4f}" for what, score in scores.items()}
    message = ", ".join(f"{text} {what}" for what, text in texts.items())
    return f"{config.trainer.monitor} after a short training: {message}"


class BestEpoch(pl.Callback):
    """Keeps the validation of the best epoch.

    Attributes:
        score: the monitored metric, negated if lower is better.
        values: the same by user; None for a metric without values of users.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.score = -math.inf
        self.values: NDArray[np.float64] | None = None

    def exceeds(self, other: "BestEpoch") -> bool:
        """Return whether it is better than another one by more than a standard error."""
        return self.score > other.score and exceeds(self.values, other.values)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate."""
        assert isinstance(pl_module, RetrievalModule)
        assert pl_module.validation is not None
        score = pl_module.validation.score(pl_module.model, self.monitor, pl_module.temperature)
        if score > self.score:
            self.score, self.values = score, pl_module.validation.monitored(self.monitor)


def short_training(config: TrainingConfig, module: RetrievalModule, batches: TrainBatches) -> BestEpoch:
    """Return the best epoch of a short training; its score is -inf if the first one diverges."""
    # A schedule of the whole training would still rise to the learning rate.
    module.optimizer_choice = config.optimizer.model_copy(update={"schedule": "constant"}).build()
    best = BestEpoch(config.trainer.monitor)
    arguments: dict[str, Any] = config.trainer.arguments() | {
        "max_epochs": min(config.trainer.max_epochs, math.ceil(config.trainer.probe_steps / len(batches))),
        "limit_train_batches": min(len(batches), MAX_STEPS),
        "limit_val_batches": 0,
    }
    with quiet_lightning():
        trainer = pl.Trainer(
            logger=False,
            enable_checkpointing=False,
            callbacks=[best, HardNegativeRefresh(batches), *process_callbacks()],
            **process_arguments(config.trainer.devices, module, batches),
            **arguments,
        )
        try:
            trainer.fit(module, batches)
        except DivergenceError as error:
            LOG.info("short training: %s", error)
    return best
