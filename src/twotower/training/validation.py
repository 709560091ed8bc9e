"""Ranking the validation users during training."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from twotower.config.errors import DivergenceError, InputError
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import scored_labels, unscored
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.health import health
from twotower.evaluation.predict import encode_catalogue, top_rows
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.user_values import label_values, metric_name
from twotower.metrics.label_metric import Scored
from twotower.towers.two_tower import TwoTower

CHUNK = 1024
Mode = Literal["max", "min"]


class Validation:
    """Ranks the whole catalogue exactly for every validation user, in chunks.

    Args:
        holdout: the validation split.
        evaluator: has the metrics and their k.
        train: the training interactions; their counts are the popularity.
        num_items: N.
    """

    def __init__(self, holdout: Holdout, evaluator: Evaluator, train: Interactions, num_items: int) -> None:
        self.holdout = holdout
        self.evaluator = evaluator
        self.popularity = item_popularity(train, num_items)
        self._items = torch.empty(0)
        self._users: list[Tensor] = []
        self._top: list[np.ndarray] = []
        self._scored: Scored | None = None

    def __len__(self) -> int:
        """Return the number of chunks."""
        return -(-len(self.holdout.users) // CHUNK)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the positions of the users in the holdout, chunk by chunk."""
        yield from torch.arange(len(self.holdout.users)).split(CHUNK)

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
        """Return a metric of towers before training, negated if lower is better."""
        sign, training = 1.0 if self.mode(monitor) == "max" else -1.0, model.training
        with torch.no_grad():
            self.start(model.eval(), temperature)
            for chunk in self:
                self.rank(model, chunk)
        model.train(training)
        return sign * self.finish()[monitor]

    def start(self, model: TwoTower, temperature: float = 1.0) -> None:
        """Embed the catalogue, and score the examples with labels; see `scored_labels`.

        New items are embedded as in the bundle, so that curves and final metrics are comparable.
        """
        with full_precision(model):
            if (self.popularity[1:] == 0).any():  # some item is new
                model.fit_new_items()
            self._items, self._users, self._top = encode_catalogue(model), [], []
            if self.evaluator.label_metrics:
                self._scored = scored_labels(model, self._items, self.holdout, temperature)

    def rank(self, model: TwoTower, chunk: Tensor) -> None:
        """Rank the users at these positions of the holdout."""
        evaluator, positions = self.evaluator, chunk.cpu().numpy()
        with full_precision(model):
            users, top = top_rows(
                model,
                self._items,
                self.holdout,
                positions,
                evaluator.max_k,
                evaluator.filters_seen(self.holdout),
            )
        self._users.append(users)
        self._top.append(top)

    def finish(self) -> dict[str, float]:
        """Return `valid/...` metrics and `health/...` figures of all chunks."""
        users = torch.cat(self._users)
        if not (self._items.isfinite().all() and users.isfinite().all()):
            raise DivergenceError(
                "optimizer.learning_rate: the training diverged, its embeddings are not finite; lower it, or "
                "set trainer.gradient_clip_val"
            )
        top = np.concatenate(self._top)
        means = self.evaluator.means(top, self.holdout, self.popularity, self._scored)
        holdout = self.holdout
        target_users = np.repeat(np.arange(len(holdout.users)), np.diff(holdout.target_offsets))
        figures = health(users, self._items, top, (target_users, np.asarray(holdout.target_items)))
        return {f"valid/{key}": value for key, value in means.items()} | {
            f"health/{key}": value for key, value in figures.items()
        }


def full_precision(model: TwoTower) -> torch.autocast:
    """Disable the autocast of the trainer, so that validation ranks in float32 like the final evaluation."""
    return torch.autocast(model.trained_items.device.type, enabled=False)
