"""Whether a trial is worth going on with, asked by its training after each epoch."""

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
"""Of the trials that reach a rung of Hyperband, one in so many goes on."""


def watch(trial: Mapping[str, Any]) -> Callable[[int, float | None], bool]:
    """Return what a job calls after each epoch: (epoch from 0, monitored metric) -> whether to stop for good.

    It is called after each step, too, without a metric. An epoch may be told twice, as it is after a resume.

    Args:
        trial: `Job.trial`; where it has `seconds`, they are all that the job has, from now on.
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
        pruner, place = build_pruner(trial), trial_id(storage, trial["study"], trial["number"])

    def is_hopeless(epoch: int, value: float | None) -> bool:
        if value is None:
            return False
        with quiet():
            try:
                storage.set_trial_intermediate_value(place, epoch + 1, value)
                # After the last epoch all is paid for, and a trial that were stopped would have no result.
                return epoch + 1 < trial["max_epochs"] and pruner.prune(study, storage.get_trial(place))
            except (OSError, InputError, StorageInternalError) as error:  # no reason to lose the training
                LOG.warning("the search's storage cannot be reached, nothing is pruned: %s", error)
                return False

    return is_hopeless


def build_pruner(trial: Mapping[str, Any]) -> "BasePruner":
    """Return the pruner that `Job.trial` names.

    It judges from the second epoch on, and not before a quarter of the longest training: the first epochs say
    too little of where a training will end.

    Reference: Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization";
    the median rule: Golovin et al. 2017, "Google Vizier".
    """
    from optuna.pruners import HyperbandPruner, MedianPruner

    epochs = trial["max_epochs"]
    first = min(epochs, max(2, epochs // 4))
    if trial["pruner"] == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=REDUCTION)
    return MedianPruner(n_startup_trials=max(2, trial["num_startup"] // 2), n_warmup_steps=first)
