"""Ranking the validation users during training."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config.errors import DivergenceError, InputError
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import encode_catalogue, rank_all, scored_labels, unscored
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.health import health
from twotower.evaluation.new_item_curve import BoostedLists, boosted_lists, new_items_of
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.user_values import UserValues, label_values, metric_name
from twotower.model.towers.two_tower import TwoTower

CHUNK = 1024
Mode = Literal["max", "min"]


class Validation:
    """Ranks the whole catalogue exactly for every validation user, in chunks.

    Args:
        train: the training interactions; their counts are the popularity.

    Attributes:
        user_values: per-user values of the latest ranking, by metric.
    """

    def __init__(self, holdout: Holdout, evaluator: Evaluator, train: Interactions, num_items: int) -> None:
        self.holdout = holdout
        self.evaluator = evaluator
        self.popularity = item_popularity(train, num_items)
        self.user_values: UserValues = {}

    def mode(self, monitor: str) -> Mode:
        """Return "max" if higher values of a metric, e.g. `valid/recall_at_20`, are better, else "min".

        Raises:
            InputError: the metric needs labels, which the validation split lacks.
        """
        labels = [metric for metric in self.evaluator.label_metrics if f"valid/{metric.name}" == monitor]
        if labels and not label_values(labels, unscored(self.holdout)):
            raise InputError(
                f"trainer.monitor: {monitor!r} is not defined for the validation split, which lacks positive "
                "or negative labels; use another split, or trainer.monitor=valid/recall_at_20"
            )
        return "max" if self.evaluator.config.higher_is_better()[metric_name(monitor)] else "min"

    def score(self, model: TwoTower, monitor: str, temperature: float) -> float:
        """Return a metric of towers before training, negated if lower is better; see `mode` for errors."""
        mode = self.mode(monitor)
        value = self.metrics(model, temperature, with_health=False)[monitor]
        return value if mode == "max" else -value

    def monitored(self, monitor: str) -> NDArray[np.float64] | None:
        """Return a metric of each user in the latest ranking, negated if lower is better.

        None if the metric has no value per user, as the AUC.
        """
        values = self.user_values.get(monitor.removeprefix("valid/"))
        return -values if values is not None and self.mode(monitor) == "min" else values

    def boosted_lists(self, model: TwoTower, monitor: str) -> BoostedLists | None:
        """Return the lists for any boost of new items; see `evaluation.new_item_curve`."""
        return boosted_lists(model.eval(), self.holdout, self.evaluator, self.popularity, monitor)

    def metrics(self, model: TwoTower, temperature: float, with_health: bool = True) -> dict[str, float]:
        """Return the metrics `valid/...` and the figures `health/...` of towers.

        New items are embedded as in the bundle, so that curves and final metrics are comparable. It ranks in
        float32, whatever the precision of the trainer, as the final evaluation does.

        Raises:
            DivergenceError: an embedding is not finite.
        """
        holdout, evaluator, scored = self.holdout, self.evaluator, None
        with torch.autocast(model.trained_items.device.type, enabled=False):
            if (self.popularity[1:] == 0).any() or new_items_of(model).any():
                model.fit_new_items(temperature)
            items = encode_catalogue(model, evaluator.division)
            if evaluator.label_metrics:
                scored = scored_labels(model, items, holdout, temperature)
            users, top = rank_all(model, items, holdout, evaluator, "validation", CHUNK)
        if not (items.isfinite().all() and users.isfinite().all()):
            raise DivergenceError(
                "optimizer.learning_rate: the training diverged, its embeddings are not finite; lower it, or "
                "set trainer.gradient_clip_val"
            )
        means, self.user_values = evaluator.means_and_values(top, holdout, self.popularity, scored)
        figures = {f"valid/{key}": value for key, value in means.items()}
        if with_health:
            target_users = np.repeat(np.arange(len(users)), np.diff(holdout.target_offsets))
            pairs = target_users, np.asarray(holdout.target_items)
            figures |= {f"health/{key}": value for key, value in health(users, items, top, pairs).items()}
        return figures
