"""Recall with inverse propensities: a hit on a rarely observed item counts more."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twotower.config.spec import NonNegativeFloat, PositiveFraction
from twotower.evaluation.metrics.metric import Floats, Ranking, UserMetric

IQR_FENCE = 1.5


class IpsRecall(UserMetric):
    """ips_recall@k = sum over the hits in the first k of 1 / propensity / that sum for the best list.

    Popular items are observed more often, also as targets, so plain recall rewards models that rank them
    first. The propensity is the assumed probability to observe an interaction. The best list has the
    min(k, relevant) rarest relevant items, so equal propensities give recall.

    References: Saito et al., Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback, WSDM
    2020 (the propensity); Yang et al., Unbiased Offline Recommender Evaluation for Missing-Not-At-Random
    Implicit Feedback, RecSys 2018 (IPS and its self-normalized form, SNIPS).

    >>> ranking = Ranking.from_lists([[1, 2]], relevant=[{1, 3}], popularity=[8, 1, 2])
    >>> IpsRecall.Config(power=1.0).build().per_user(ranking, k=2).tolist()  # 1 / (1 + 4)
    [0.2]
    """

    class Config(UserMetric.Config):
        propensity: Literal["power", "iqr"] = "power"
        """`power` = (popularity / largest popularity)^power; `iqr` = max(1, popularity / cap), the cap being
        the third quartile of popularity plus 1.5 interquartile ranges: only outliers count less."""
        power: NonNegativeFloat = 0.5
        """0 = no correction; 1 = all items count the same in total."""
        min_propensity: PositiveFraction = 0.1
        """Smaller propensities are clipped to this value, so that single items cannot dominate."""
        normalize: Literal["ideal", "weights", "relevant"] = "ideal"
        """Divide by the sum of the best list of k items (`ideal`: a perfect list has the value 1), by the sum
        of 1 / propensity of all relevant items (`weights`: SNIPS), or by their number (`relevant`: IPS)."""

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield settings of the other propensity."""
            for name in sorted(self.model_fields_set & {"power", "min_propensity"}):
                if self.propensity == "iqr":
                    yield name, "propensity=power reads it"

    config: Config
    name = "ips_recall"
    higher_is_better = True

    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return the corrected metric of each user [Q]."""
        weights, discounts = self.weights(ranking.popularity), self.discounts(k)
        gained = (weights[ranking.top_items(k)] * ranking.top_hits(k)) @ discounts
        counts, own, queries = ranking.num_relevant, weights[ranking.relevant], ranking.relevant_queries
        if self.config.normalize == "relevant":
            own = np.ones(len(own))
        elif self.config.normalize == "ideal":
            order = np.lexsort((-own, queries))  # each user's relevant items in turn, the rarest first
            ranks = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
            own = own[order] * np.append(discounts, 0.0)[np.minimum(ranks, k)]
        possible = np.bincount(queries, own, minlength=len(counts))
        return np.asarray(gained / np.where(possible > 0, possible, 1.0))

    def discounts(self, k: int) -> Floats:
        """Return the value of a hit at each position [k]."""
        return np.ones(k)

    def weights(self, popularity: NDArray[np.int64]) -> Floats:
        """Return 1 / propensity of each item row [N + 1]."""
        observed = popularity[popularity > 0] if popularity.any() else np.ones(1)
        if self.config.propensity == "iqr":
            low, high = np.quantile(observed, [0.25, 0.75])
            return 1 / np.maximum(1, popularity / int(high + IQR_FENCE * (high - low)))
        propensities = (popularity / observed.max()) ** self.config.power
        return np.asarray(1 / np.maximum(propensities, self.config.min_propensity))
