"""What new items gain by a boost of their bias, and what known items lose.

Shapes: Q users of a holdout, N items, k length of a list.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import encode_catalogue, encode_every_user
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.metrics.ndcg import Ndcg
from twotower.evaluation.metrics.recall import Recall
from twotower.evaluation.ranking import item_popularity, part_values, rank
from twotower.evaluation.top_k import exact_top_k
from twotower.evaluation.user_values import mean_values, metric_k
from twotower.model.towers.two_tower import TwoTower

BOOSTS = (-2.0, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 2.0)
"""Boosts of the curve."""
STEP, LOWEST, HIGHEST = 0.01, -10.0, 3.0
"""Multiples of `STEP` between `LOWEST` and `HIGHEST` are tried by `largest_boost`."""
METRICS = Recall(Recall.Config()), Ndcg(Ndcg.Config())
KNOWN, NEW, ALL = "known", "new", "all"
RowsAndScores = tuple[NDArray[np.int64], NDArray[np.float32]]
"""The best items of users: rows [Q, k], 0 = none, and their scores [Q, k]."""


class BoostedLists:
    """The lists of the users of a holdout for any boost of new items, from two searches.

    Args:
        popularity: [N + 1], see `item_popularity`.
        is_new: [N], see `new_items_of`.
    """

    def __init__(
        self,
        model: TwoTower,
        holdout: Holdout,
        evaluator: Evaluator,
        popularity: NDArray[np.int64],
        is_new: NDArray[np.bool_],
        k: int,
    ) -> None:
        self.holdout, self.popularity, self.is_new, self.k = holdout, popularity, is_new, k
        self.layout = model.layout
        boost = model.new_items.boost.clone()
        model.new_items.boost.zero_()
        self._items = encode_catalogue(model)
        model.new_items.boost.copy_(boost)
        self._users = torch.from_numpy(encode_every_user(model, holdout)).to(self._items.device)
        self._exclude = evaluator.excluded(holdout)

    @cached_property
    def known(self) -> RowsAndScores:
        """The best known items."""
        return self._best(self.is_new)

    @cached_property
    def new(self) -> RowsAndScores:
        """The best new items, with a boost of 0."""
        return self._best(~self.is_new)

    def means(self, boost: float | None) -> dict[str, dict[str, float]]:
        """Return recall and NDCG on targets that are `known` and `new` items and on `all`, if there are some.

        Args:
            boost: of new items; None: lists without new items.
        """
        ranking = rank(self._lists(boost), self.holdout, self.popularity)
        is_known = ~self.is_new[ranking.relevant - 1]
        parts = {KNOWN: is_known, NEW: ~is_known, ALL: np.ones_like(is_known)}
        return {
            part: mean_values(part_values({self.k: ranking}, mask, METRICS))
            for part, mask in parts.items()
            if mask.any()
        }

    def largest_boost(self, max_loss: float) -> float:
        """Return the largest boost at which recall and NDCG of known items fall by at most a share."""
        least = {key: (1 - max_loss) * value for key, value in self.means(None)[KNOWN].items()}
        low, high = round(LOWEST / STEP), round(HIGHEST / STEP)
        while low < high:
            middle = (low + high + 1) // 2
            values = self.means(middle * STEP)[KNOWN]
            is_allowed = all(values[key] >= bound for key, bound in least.items())
            low, high = (middle, high) if is_allowed else (low, middle - 1)
        return round(low * STEP, 2)

    def _lists(self, boost: float | None) -> NDArray[np.int64]:
        """Return the rows of the best items, [Q, k]; of equal scores a known item comes first."""
        rows, scores = self.known
        if boost is None:
            return rows
        new_rows, new_scores = self.new
        rows = np.concatenate([rows, new_rows], axis=1)
        scores = np.concatenate([scores, self.layout.boosted(new_scores, boost)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        return np.take_along_axis(rows, order, axis=1)

    def _best(self, outside: NDArray[np.bool_]) -> RowsAndScores:
        """Return the best items, without some [N]."""
        return exact_top_k(self._users, self._items, self.k, self._exclude, outside)


def boosted_lists(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, popularity: NDArray[np.int64], monitor: str
) -> BoostedLists | None:
    """Return the lists for any boost; None without a boost, new items or known targets."""
    key = evaluator.config.list_metric(monitor)
    if key is None or not model.new_items.has_boost:
        return None
    is_new = new_items_of(model)
    if not is_new.any() or is_new[np.asarray(holdout.target_items) - 1].all():
        return None
    return BoostedLists(model, holdout, evaluator, popularity, is_new, int(metric_k(key)))


def new_items_of(model: TwoTower) -> NDArray[np.bool_]:
    """Return whether each item of the catalogue is new to the towers, bool [N]."""
    return model.new_items.is_new(model.items.all_rows()).cpu().numpy()


def new_item_curve(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, interactions: Interactions, monitor: str
) -> dict[str, Any]:
    """Return the part `new_items` of the result: recall on known and new items by boost; empty if undefined.

    See `runs.result_parts.NewItemCurve`.
    """
    popularity = item_popularity(interactions, model.items.num_rows)
    lists = boosted_lists(model, holdout, evaluator, popularity, monitor)
    if lists is None:
        return {}
    recall, own = f"recall_at_{lists.k}", round(float(model.new_items.boost), 2)

    def recalls(boost: float | None) -> dict[str, float]:
        return {part: values[recall] for part, values in lists.means(boost).items()}

    return {
        "metric": recall,
        "boost": own,
        "num_items": int(lists.is_new.sum()),
        "without": recalls(None),
        "curve": [{"boost": boost, **recalls(boost)} for boost in sorted({*BOOSTS, own})],
    }
