"""A warning of examples that nothing comes before."""

import logging

from twotower.training.batches import TrainBatches

LOG = logging.getLogger("twotower")
MANY = 0.8


def warn_of_empty_histories(batches: TrainBatches) -> None:
    """Say it when most examples have no history, which serving would not match."""
    share = batches.share_without_history()
    if batches.history_length and share > MANY:
        LOG.warning(
            "%.0f %% of the training examples have no history; with coarse or equal timestamps set "
            "history.strict=false",
            100 * share,
        )
