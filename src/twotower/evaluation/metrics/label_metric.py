"""Base classes of metrics of labels, and `Scored`, their input.

Shapes: E examples: positives (label 1) and impressions without a click (label 0), U users.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.metrics.metric import Floats, Metric


@dataclass(frozen=True, eq=False)
class Scored:
    """Labelled examples of U users with the logits of the towers.

    Args:
        users: int64 [E], the user of each example, 0 to U - 1.
        labels: bool [E].
        logits: float64 [E]: score / temperature of the loss; the probability of a 1 is its sigmoid.
        weights: float64 [E], 0 or more.
    """

    users: NDArray[np.int64]
    labels: NDArray[np.bool_]
    logits: Floats
    weights: Floats

    @classmethod
    def from_lists(
        cls, users: list[int], labels: list[int], logits: list[float], weights: list[float] | None = None
    ) -> Self:
        """Build from lists; the default weight is 1."""
        numbers = (np.array(each, dtype=np.float64) for each in (logits, weights or [1] * len(users)))
        return cls(np.array(users, dtype=np.int64), np.array(labels) == 1, *numbers)

    @property
    def num_users(self) -> int:
        """U, the number of users."""
        return int(self.users.max(initial=-1)) + 1

    @property
    def probabilities(self) -> Floats:
        """The sigmoid of each logit [E]."""
        return np.exp(-np.logaddexp(0, -self.logits))

    def sum_by_user(self, values: NDArray[np.floating]) -> Floats:
        """Return the sum of values [E] for each user, [U]."""
        return np.bincount(self.users, weights=values, minlength=self.num_users).astype(np.float64)


class LabelMetric(Metric):
    """A metric over all labelled examples, without a k.

    Its key is its name: `auc`. It is reported if the data has impressions without a click. A weight counts as
    the number of copies of an example.
    """

    reads_probabilities: ClassVar[bool] = False
    """Whether it reads `Scored.probabilities`, so that it is left out if the loss trains none."""

    @abstractmethod
    def value(self, scored: Scored) -> float | None:
        """Return the value, None if it is not defined, such as an AUC without negatives."""

    @abstractmethod
    def influence(self, scored: Scored) -> Floats:
        """Return the influence of each user on the defined value, [U], with sum 0, for its interval.

        Users are sampled, not examples, since the examples of a user are correlated.
        """


class RatioMetric(LabelMetric):
    """A metric of labels that is a ratio of sums over users."""

    @abstractmethod
    def parts(self, scored: Scored) -> tuple[Floats, Floats]:
        """Return each user's part of the numerator and of the denominator, [U] and [U]."""

    def value(self, scored: Scored) -> float | None:
        """Return the ratio of the sums, None if the denominator is 0."""
        above, below = (float(part.sum()) for part in self.parts(scored))
        return above / below if below > 0 else None

    def influence(self, scored: Scored) -> Floats:
        """Return the linearized ratio of each user [U]: (numerator - value * denominator) / total."""
        above, below = self.parts(scored)
        total = below.sum()
        return np.asarray((above - above.sum() / total * below) / total)


def ordered_pairs(
    groups: NDArray[np.int64], labels: NDArray[np.bool_], logits: Floats, weights: np.ndarray
) -> tuple[Floats, Floats]:
    """Compare each example with the examples of the other label in its group (from 0); ties count half.

    Returns:
        The weight of the other examples that are ordered correctly (0s below a 1, 1s above a 0), [E], and the
        weight of all examples of the other label in the group, [E].
    """
    order = np.lexsort((logits, groups))
    changes = np.zeros(len(order), dtype=np.int64)
    changes[1:] = (np.diff(groups[order]) != 0) | (np.diff(logits[order]) != 0)
    ranks = np.empty_like(changes)  # of (group, logit), equal for ties
    ranks[order] = np.cumsum(changes)
    ordered, total = np.zeros(len(order)), np.zeros(len(order))
    for label in (True, False):
        has_label = labels == label
        at_rank = np.bincount(ranks, weights=weights * ~has_label, minlength=1)
        in_group = np.bincount(groups, weights=weights * ~has_label, minlength=1)
        before_group = np.cumsum(in_group) - in_group
        below = (np.cumsum(at_rank) - at_rank / 2)[ranks] - before_group[groups]
        ordered[has_label] = (below if label else in_group[groups] - below)[has_label]
        total[has_label] = in_group[groups][has_label]
    return ordered, total
