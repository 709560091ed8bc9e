"""What new items gain by a boost of their bias, and what known items lose.

Shapes: Q users of a holdout, N items, k length of a list.
"""

from bisect import bisect_left
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
KNOWN = "known"


class BoostedLists:
    """The lists of the users of a holdout for any boost of new items, from two searches.

    Attributes:
        is_new: see `new_items_of`.
        k: length of the lists.
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
        self.is_new, self.k = is_new, k
        self._holdout, self._popularity, self._layout = holdout, popularity, model.layout
        boost = model.new_items.boost.clone()
        model.new_items.boost.zero_()
        items = encode_catalogue(model, evaluator.division)
        model.new_items.boost.copy_(boost)
        users = torch.from_numpy(encode_every_user(model, holdout)).to(items.device)
        exclude = evaluator.excluded(holdout)
        self._known, self._new = (exact_top_k(users, items, k, exclude, out) for out in (is_new, ~is_new))

    def means(self, boost: float | None) -> dict[str, dict[str, float]]:
        """Return recall and NDCG on targets that are `known` and `new` items and on `all`, if there are some.

        Args:
            boost: of new items; None: lists without new items. Of equal scores a known item comes first.
        """
        rows, scores = self._known
        if boost is not None:
            rows = np.concatenate([rows, self._new[0]], axis=1)
            scores = np.concatenate([scores, self._layout.boosted(self._new[1], boost)], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
            rows = np.take_along_axis(rows, order, axis=1)
        ranking = rank(rows, self._holdout, self._popularity)
        is_known = ~self.is_new[ranking.relevant - 1]
        parts = {KNOWN: is_known, "new": ~is_known, "all": np.ones_like(is_known)}
        return {
            part: mean_values(part_values({self.k: ranking}, mask, METRICS))
            for part, mask in parts.items()
            if mask.any()
        }

    def largest_boost(self, max_loss: float) -> float:
        """Return the largest boost at which recall and NDCG of known items fall by at most a share."""
        least = {key: (1 - max_loss) * value for key, value in self.means(None)[KNOWN].items()}

        def is_lossy(step: int) -> bool:
            values = self.means(step * STEP)[KNOWN]
            return any(values[key] < bound for key, bound in least.items())

        steps = range(round(LOWEST / STEP) + 1, round(HIGHEST / STEP) + 1)
        return round((steps.start - 1 + bisect_left(steps, True, key=is_lossy)) * STEP, 2)


def boosted_lists(
    model: TwoTower, holdout: Holdout, evaluator: Evaluator, popularity: NDArray[np.int64], monitor: str
) -> BoostedLists | None:
    """Return the lists for any boost; None without a boost, new items or known targets."""
    key, is_new = evaluator.config.list_metric(monitor), new_items_of(model)
    if key is None or not model.new_items.has_boost or not is_new.any():
        return None
    if is_new[np.asarray(holdout.target_items) - 1].all():
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
    boosts = [None, *sorted({*BOOSTS, own})]
    without, *curve = [
        {part: values[recall] for part, values in lists.means(boost).items()} for boost in boosts
    ]
    return {
        "metric": recall,
        "boost": own,
        "num_items": int(lists.is_new.sum()),
        "without": without,
        "curve": [{"boost": boost, **recalls} for boost, recalls in zip(boosts[1:], curve, strict=True)],
    }
