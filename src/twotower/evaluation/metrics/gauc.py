"""GAUC: the AUC of each user's own examples, averaged."""

import numpy as np

from twotower.evaluation.metrics.label_metric import RatioMetric, Scored, ordered_pairs
from twotower.evaluation.metrics.metric import Floats


class Gauc(RatioMetric):
    """gauc = sum of n_u auc_u / sum of n_u over users with both labels, n_u their numbers of examples.

    Measures rankings for single users: unlike `auc` it does not reward separating users who click much from
    users who click little. Undefined if no user has both labels.

    Reference: Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018, section 6.3.

    >>> scored = Scored.from_lists(users=[0, 0, 0, 1, 1], labels=[1, 0, 0, 1, 0], logits=[2, 1, 3, 0, 5])
    >>> Gauc.Config().build().value(scored)  # (3 * 1/2 + 2 * 0) / 5
    0.3
    """

    name = "gauc"
    higher_is_better = True

    def parts(self, scored: Scored) -> tuple[Floats, Floats]:
        """Return n_u auc_u and n_u, both 0 for a user without both labels."""
        ordered, compared = ordered_pairs(scored.users, scored.labels, scored.logits, scored.weights)
        pairs = scored.sum_by_user(scored.weights * compared * scored.labels)
        wins = scored.sum_by_user(scored.weights * ordered * scored.labels)
        counts = np.where(pairs > 0, scored.sum_by_user(scored.weights), 0.0)
        return counts * wins / np.where(pairs > 0, pairs, 1.0), counts
