"""Calibration: expected clicks per observed click."""

from twotower.evaluation.metrics.label_metric import RatioMetric, Scored
from twotower.evaluation.metrics.metric import Floats


class Calibration(RatioMetric):
    """calibration = sum of p / number of 1s, p = sigma(score / temperature): expected over observed clicks.

    1 is calibrated, above 1 probabilities are too high; no direction is better. It is left
    out if the loss trains no probabilities: `bce` does; additional sampled negatives lower them.

    Reference: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, ADKDD 2014, section 2.

    >>> scored = Scored.from_lists(users=[0, 0, 1], labels=[1, 0, 0], logits=[0, 0, 0])
    >>> Calibration.Config().build().value(scored)
    1.5
    """

    name = "calibration"
    higher_is_better = None
    reads_probabilities = True

    def parts(self, scored: Scored) -> tuple[Floats, Floats]:
        """Return each user's expected and observed clicks."""
        expected = scored.sum_by_user(scored.weights * scored.probabilities)
        return expected, scored.sum_by_user(scored.weights * scored.labels)
