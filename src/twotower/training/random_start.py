"""A training from random embeddings, where no epoch improved on the initial ones: the better is used."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from twotower.config.errors import Diverged
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import Fitted
from twotower.training.initialization.initialization import Initialization
from twotower.training.module import RetrievalModule

LOG = logging.getLogger("twotower")


@dataclass(frozen=True)
class Attempt:
    """A first phase that has ended, with the initialization that it began from."""

    initialization: Initialization
    module: RetrievalModule
    fitted: Fitted


def better_attempt(first: Attempt, train_from_random: Callable[[], Attempt], monitor: str) -> Attempt:
    """Return the attempt that is better on the validation split.

    Args:
        first: from the initialization of the settings.
        train_from_random: is called where no epoch of `first` improved on its initial embeddings.
        monitor: the metric that both are compared by.

    Raises:
        TrialPruned: the watcher stopped the second training; with the curves of `first`.
    """
    fitted = first.fitted
    if fitted.improved:
        return first
    name = first.initialization.name
    LOG.info(
        "no epoch improved on the embeddings of initialization=%s: initialization=random is trained too",
        name,
    )
    try:
        second = train_from_random()
    except Diverged as error:
        LOG.warning("initialization=random was compared, too: %s; initialization=%s is used", error, name)
        return first
    except TrialPruned as pruned:
        raise TrialPruned(fitted.epochs, fitted.curves) from pruned
    scores = [abs(attempt.fitted.score or 0.0) for attempt in (first, second)]
    told = f"{monitor} {scores[0]:.4f} with initialization={name}, {scores[1]:.4f} with initialization=random"
    first, second = (_with_time_of_both(each, fitted, second.fitted) for each in (first, second))
    if (second.fitted.score or 0.0) > (fitted.score or 0.0):
        LOG.warning(
            "the better initialization on the validation split is used, initialization=random: %s",
            told,
        )
        return second
    LOG.warning(
        "no epoch improved on the embeddings of initialization=%s, which is used: %s; try a "
        "lower optimizer.learning_rate, or more trainer.patience",
        *(name, told),
    )
    return first


def _with_time_of_both(attempt: Attempt, one: Fitted, other: Fitted) -> Attempt:
    seconds, examples = one.seconds + other.seconds, one.examples + other.examples
    return replace(attempt, fitted=replace(attempt.fitted, seconds=seconds, examples=examples))
