"""AUC: the probability that a positive scores above a negative."""

import numpy as np

from twotower.evaluation.metrics.label_metric import LabelMetric, Scored, ordered_pairs
from twotower.evaluation.metrics.metric import Floats


class Auc(LabelMetric):
    """auc = the share of all pairs of a 1 and a 0, of any users, in which the 1 scores higher.

    A tie counts half; a pair counts the product of its weights. Random scores have .5. Undefined without both
    labels.

    Reference: Obuchowski, Nonparametric Analysis of Clustered ROC Curve Data, Biometrics 1997, section 2.

    >>> scored = Scored.from_lists(users=[0, 0, 1, 1], labels=[1, 0, 1, 0], logits=[2, 1, 0.5, 0.5])
    >>> Auc.Config().build().value(scored)  # of four pairs two are in order, and one is a tie
    0.625
    """

    name = "auc"
    higher_is_better = True

    def value(self, scored: Scored) -> float | None:
        """Return the share of pairs in the right order."""
        ordered, compared = _over_all(scored)
        total = (scored.weights * compared)[scored.labels].sum()
        return float((scored.weights * ordered)[scored.labels].sum() / total) if total > 0 else None

    def influence(self, scored: Scored) -> Floats:
        """Return the difference of each user's pairs from the mean, [U]."""
        ordered, compared = _over_all(scored)
        value = self.value(scored)
        assert value is not None
        of_label = np.where(scored.labels, scored.weights @ scored.labels, scored.weights @ ~scored.labels)
        return scored.sum_by_user(scored.weights * (ordered / compared - value) / of_label)


def _over_all(scored: Scored) -> tuple[Floats, Floats]:
    return ordered_pairs(np.zeros_like(scored.users), scored.labels, scored.logits, scored.weights)
