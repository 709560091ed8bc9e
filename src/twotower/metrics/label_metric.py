"""Base classes of metrics of labels, and `Scored`, their input.

Shapes: E examples: positives (label 1) and impressions without a click (label 0), U users.
"""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twotower.metrics.metric import Metric


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
    logits: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        users: Iterable[int],
        labels: Iterable[int],
        logits: Iterable[float],
        weights: Iterable[float] | None = None,
    ) -> Self:
        """Build examples by hand, by default of weight 1."""
        columns = np.array(list(users)), np.array(list(labels)) == 1, np.array(list(logits), dtype=np.float64)
        own = np.ones(len(columns[0])) if weights is None else np.array(list(weights), dtype=np.float64)
        return cls(columns[0].astype(np.int64), columns[1], columns[2], own)

    @property
    def num_users(self) -> int:
        """U."""
        return int(self.users.max(initial=-1)) + 1

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Return the sigmoid of each logit [E]."""
        found: NDArray[np.float64] = np.exp(-np.logaddexp(0, -self.logits))
        return found

    def of_users(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the sum of values [E] of each user, [U]."""
        return np.bincount(self.users, weights=values, minlength=self.num_users).astype(np.float64)


class LabelMetric(Metric):
    """A metric over all labelled examples, without a k.

    Its key is its name: `auc`. It is reported if the data has impressions without a click. A weight counts as
    the number of copies of an example.
    """

    @abstractmethod
    def value(self, scored: Scored) -> float | None:
        """Return the value, None if it is not defined, such as an AUC without negatives."""

    def influence(self, scored: Scored) -> NDArray[np.float64] | None:
        """Return the influence of each user on the value, [U], with sum 0; None if it is not known.

        Intervals are computed from it: users are sampled, not examples, since those of a user are correlated.
        """
        return None


class RatioMetric(LabelMetric):
    """A metric of labels that is a ratio of sums over users."""

    @abstractmethod
    def parts(self, scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each user's part of the numerator and of the denominator, [U] and [U]."""

    def value(self, scored: Scored) -> float | None:
        """Return the ratio of the sums, None if the denominator is 0."""
        above, below = (float(part.sum()) for part in self.parts(scored))
        return above / below if below > 0 else None

    def influence(self, scored: Scored) -> NDArray[np.float64]:
        """Return (numerator - value * denominator) / sum of denominators of each user [U]: the linearized
        ratio."""
        above, below = self.parts(scored)
        total = below.sum()
        influence: NDArray[np.float64] = (above - above.sum() / total * below) / total
        return influence


def beaten(
    groups: NDArray[np.int64], labels: NDArray[np.bool_], logits: NDArray[np.float64], weights: np.ndarray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how well each example stands to those of the other label in its group, a tie as half.

    Args:
        groups: int64 [E], from 0.
        labels: [E].
        logits: [E].
        weights: [E].

    Returns:
        Of a 1 the weight of 0s below it, of a 0 the weight of 1s above it, [E]; and the weight of all
        examples of the other label in the group, [E].
    """
    order = np.lexsort((logits, groups))
    changes = np.zeros(len(order), dtype=np.int64)
    changes[1:] = (np.diff(groups[order]) != 0) | (np.diff(logits[order]) != 0)
    places = np.empty_like(changes)  # number of the distinct (group, logit) of each example, ascending
    places[order] = np.cumsum(changes)
    found, others = np.zeros(len(order)), np.zeros(len(order))
    for label in (True, False):
        mine = labels == label
        at_place = np.bincount(places, weights=weights * ~mine, minlength=1)
        of_group = np.bincount(groups, weights=weights * ~mine, minlength=1)
        before_group = np.cumsum(of_group) - of_group
        below = (np.cumsum(at_place) - at_place / 2)[places] - before_group[groups]
        found[mine] = (below if label else of_group[groups] - below)[mine]
        others[mine] = of_group[groups][mine]
    return found, others
