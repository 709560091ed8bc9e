"""Log loss: the mean negative log probability of the labels."""

import numpy as np

from twotower.evaluation.metrics.label_metric import RatioMetric, Scored
from twotower.evaluation.metrics.metric import Floats


class LogLoss(RatioMetric):
    """log_loss = the mean of -log p over the 1s and -log(1 - p) over the 0s, p = sigma(score / temperature).

    In nats; a constant probability of .5 has a log loss of log 2 = .693. It is left out if the loss trains no
    probabilities: `bce` does.

    >>> scored = Scored.from_lists(users=[0, 1], labels=[1, 0], logits=[0, 0])
    >>> round(LogLoss.Config().build().value(scored), 6)
    0.693147
    """

    name = "log_loss"
    higher_is_better = False
    reads_probabilities = True

    def parts(self, scored: Scored) -> tuple[Floats, Floats]:
        """Return each user's weighted losses and weights."""
        losses = np.logaddexp(0, np.where(scored.labels, -scored.logits, scored.logits))
        return scored.sum_by_user(scored.weights * losses), scored.sum_by_user(scored.weights)
