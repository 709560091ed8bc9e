"""ELSA: a low-rank linear item-to-item model that is trained by gradients, for large catalogues."""

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twotower.config.spec import NonNegativeInt, PositiveFloat, PositiveInt
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData
from twotower.evaluation.ranking import interaction_matrix

BATCH_NUMBERS = 2**27
"""Largest number of scores of a batch: 512 MiB."""


class Elsa(Baseline):
    """Score = history (0 or 1 per item) times A A' - I, where the rows of A [N, factors] have length 1.

    A minimizes the squared distance between the histories of users and their scores, both normalized. It
    needs 4 N bytes for each factor, where EASE needs 4 N^2 bytes. Users without a history get the latest
    popularity (`BaselineData.fallback`).

    Reference: Vancura et al., Scalable Linear Shallow Autoencoder for Collaborative Filtering, RecSys 2022.
    """

    class Config(Baseline.Config):
        factors: PositiveInt = 256
        """Columns of A."""
        epochs: PositiveInt = 10
        """Passes over the users."""
        batch_size: PositiveInt = 1024
        """Users of a step; fewer if the catalogue has more than 131,072 items."""
        learning_rate: PositiveFloat = 0.1
        """Of NAdam."""
        min_items: NonNegativeInt = 0
        """Smallest catalogue that it is run on; it is left out of the tables of smaller ones."""

        def applies_to(self, holdout: Holdout, past: BaselineData) -> bool:
            """Return whether the catalogue is large enough."""
            return past.num_items >= self.min_items

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Train A; stops at once if the time does not suffice."""
        config, self.fallback = self.config, past.fallback
        draws = torch.Generator().manual_seed(0)
        users = np.flatnonzero(np.diff(past.matrix.indptr) > 0)
        size = max(1, min(config.batch_size, BATCH_NUMBERS // max(1, past.num_items)))
        left = config.epochs * -(-len(users) // size)
        weights = nn.Parameter(torch.randn(past.num_items, config.factors, generator=draws))
        optimizer = torch.optim.NAdam([weights], lr=config.learning_rate)
        for _ in range(config.epochs):
            order = users[torch.randperm(len(users), generator=draws).numpy()]
            for start in range(0, len(order), size):
                began = time.monotonic()
                histories = torch.from_numpy(past.matrix[order[start : start + size]].toarray())
                optimizer.zero_grad()
                distance(histories, nn.functional.normalize(weights)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                left -= 1
                past.budget.check((time.monotonic() - began) * left)
        self.unit: NDArray[np.float32] = nn.functional.normalize(weights.detach()).numpy()

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the predicted scores of histories."""
        matrix = interaction_matrix(history, users, len(self.unit))
        predicted: NDArray[np.float32] = (matrix @ self.unit) @ self.unit.T
        predicted[matrix.nonzero()] -= 1
        predicted[np.diff(matrix.indptr) == 0] = self.fallback
        return predicted


def distance(histories: Tensor, unit: Tensor) -> Tensor:
    """Return the mean squared distance of histories [B, N] and their scores, both normalized."""
    scores = histories @ unit @ unit.T - histories
    return (nn.functional.normalize(scores) - nn.functional.normalize(histories)).square().sum(dim=1).mean()
