"""Pruning of trials: whether to stop a training, asked after each epoch."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

LOG = logging.getLogger("twotower")
PrunerName = Literal["median", "none"]


def make_pruning_callback(trial: Mapping[str, Any]) -> Callable[[int, float | None], bool]:
    """Return a callback of the training: (epoch from 0, monitored metric) -> whether to stop.

    It is also called after each step, without a metric. After a resume, an epoch may be reported twice. A
    pruner stops from the second epoch on, and not before a quarter of `max_epochs`.

    Args:
        trial: `Job.trial`; `seconds` is a time limit from now on.

    Reference: Golovin et al. 2017, "Google Vizier" (the median rule).
    """
    if "seconds" in trial:
        end = time.monotonic() + trial["seconds"]
        return lambda epoch, value: time.monotonic() > end
    if trial["pruner"] == "none":
        return lambda epoch, value: False
    from optuna.pruners import MedianPruner

    from twotower.sweeps.study import JournalStudy

    shared = JournalStudy(Path(trial["journal"]), trial["direction"])
    storage_id, epochs = shared.storage_id(trial["number"]), trial["max_epochs"]
    first = min(epochs, max(2, epochs // 4))
    pruner = MedianPruner(max(2, trial["num_startup"] // 2), n_warmup_steps=first)

    def should_stop(epoch: int, value: float | None) -> bool:
        if value is None:
            return False
        try:
            shared.storage.set_trial_intermediate_value(storage_id, epoch + 1, value)
            # Never after the last epoch: a stopped trial has no result.
            return epoch + 1 < epochs and pruner.prune(shared.study, shared.storage.get_trial(storage_id))
        except (OSError, ValueError) as error:  # the training continues
            LOG.warning("the journal of the search cannot be read, so no trial is pruned: %s", error)
            return False

    return should_stop
