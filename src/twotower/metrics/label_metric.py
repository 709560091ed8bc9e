"""What a metric of labels reads (`Scored`) and the two kinds of it.

Shapes: E examples that were wanted (label 1) or shown in vain (label 0), U users.
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
    """Examples of U users with labels, and how sure the towers are of each.

    Args:
        users: int64 [E], whose example it is: numbers from 0 to U - 1.
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
        """Build a few examples by hand, each of weight 1 if nothing else is said."""
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
    """A metric of labels: of what was wanted and what was shown in vain, over all of them and without a k.

    Its key is its name: `auc`. It is reported where the data says what was shown in vain. Weights count as if
    an example were there so many times.
    """

    @abstractmethod
    def value(self, scored: Scored) -> float | None:
        """Return the value, None where it is not defined, as an AUC of wanted items alone."""

    def influence(self, scored: Scored) -> NDArray[np.float64] | None:
        """Return how far each user moves the value, [U], sum 0; None, the default, where nobody knows.

        It gives the interval: users are drawn, not examples, since those of one user are alike.
        """
        return None


class RatioMetric(LabelMetric):
    """A metric of labels that is a ratio of sums over users."""

    @abstractmethod
    def parts(self, scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each user adds above and below the line, [U] and [U]."""

    def value(self, scored: Scored) -> float | None:
        """Return the ratio of the sums, None where nothing is below the line."""
        above, below = (float(part.sum()) for part in self.parts(scored))
        return above / below if below > 0 else None

    def influence(self, scored: Scored) -> NDArray[np.float64]:
        """Return (above - value * below) / sum below of each user [U]: the ratio, made linear."""
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
