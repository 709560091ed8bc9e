"""Pruning of trials: whether to stop a training, asked after each epoch."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from twotower.config.errors import InputError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

LOG = logging.getLogger("twotower")
PrunerName = Literal["hyperband", "median", "none"]
REDUCTION = 3
"""Hyperband continues one in so many trials of a rung."""


def make_pruning_callback(trial: Mapping[str, Any]) -> Callable[[int, float | None], bool]:
    """Return a callback of the training: (epoch from 0, monitored metric) -> whether to stop.

    It is also called after each step, without a metric. After a resume, an epoch may be reported twice.

    Args:
        trial: `Job.trial`; `seconds` is a time limit from now on.
    """
    if "seconds" in trial:
        end = time.monotonic() + trial["seconds"]
        return lambda epoch, value: time.monotonic() > end
    if trial["pruner"] == "none":
        return lambda epoch, value: False
    from optuna.exceptions import StorageInternalError

    from twotower.sweeps.study import open_storage, open_study, quiet, trial_id

    with quiet():
        storage = open_storage(trial["storage"])
        study = open_study(storage, trial["study"], [trial["direction"]])
        pruner, storage_id = build_pruner(trial), trial_id(storage, trial["study"], trial["number"])

    def should_stop(epoch: int, value: float | None) -> bool:
        if value is None:
            return False
        with quiet():
            try:
                storage.set_trial_intermediate_value(storage_id, epoch + 1, value)
                # Never after the last epoch: a stopped trial has no result.
                return epoch + 1 < trial["max_epochs"] and pruner.prune(study, storage.get_trial(storage_id))
            except (OSError, InputError, StorageInternalError) as error:  # the training continues
                LOG.warning("the storage of the search cannot be reached, so no trial is pruned: %s", error)
                return False

    return should_stop


def build_pruner(trial: Mapping[str, Any]) -> "BasePruner":
    """Return the pruner that `Job.trial` names.

    It prunes from the second epoch on, and not before a quarter of `max_epochs`.

    Reference: Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization";
    the median rule: Golovin et al. 2017, "Google Vizier".
    """
    from optuna.pruners import HyperbandPruner, MedianPruner

    epochs = trial["max_epochs"]
    first = min(epochs, max(2, epochs // 4))
    if trial["pruner"] == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=REDUCTION)
    return MedianPruner(n_startup_trials=max(2, trial["num_startup"] // 2), n_warmup_steps=first)
