"""Softmax loss at k: positives far below the top k of the user have lower weights."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from twotower.config.spec import PositiveFloat, PositiveInt
from twotower.losses.loss import CosineLoss
from twotower.negatives.sampler import NegativeSampler
from twotower.scoring.fused_softmax import cross_entropy
from twotower.towers.two_tower import TwoTowerConfig


class SlAtK(CosineLoss):
    """L = sigma((s+ - threshold) / weight_temperature) times the softmax loss at `temperature`, of cosines.

    The threshold is the k-th best score of the user among the positive and the negatives of the batch, as a
    constant. So positives that can reach the top k have high weights, as in NDCG@k.

    Needs: unit vectors and no item bias, and `weight_temperature` well above `temperature`, otherwise lower
    scores of positives below the threshold reduce it, because the weight has a gradient; k negatives.
    Prefer it for NDCG at a small k, after tuning a softmax.
    Reference: Yang et al., Breaking the Top-K Barrier, KDD 2025, section 4, where thresholds include known
    items and are updated every few epochs.
    """

    class Config(CosineLoss.Config):
        k: PositiveInt = 20
        """k, the length of the list."""
        temperature: PositiveFloat = 0.1
        """Temperature of the softmax."""
        weight_temperature: PositiveFloat = 1.0
        """Temperature of the weights; with lower values, positives below the threshold have lower weights."""

        def problems(
            self,
            towers: TwoTowerConfig | None = None,
            negatives: NegativeSampler.Config | None = None,
            batch_size: int | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse fewer negatives than k."""
            yield from super().problems(towers, negatives, batch_size)
            if negatives is None or batch_size is None:
                return
            shared = negatives.num_draws(batch_size)
            if shared is not None and (number := shared + negatives.num_query_negatives()) < self.k:
                draws = f"{negatives.owner.__name__} gives a positive only {number} negatives"
                remedy = "draw more, use negatives=catalogue, or lower k"
                yield "k", f"is {self.k}, but {draws}, so there is no k-th best; {remedy}"

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the weighted cross-entropy, [b]."""
        config = self.config
        threshold = kth_best(negatives.detach(), positive.detach(), config.k)
        weight = ((positive - threshold) / config.weight_temperature).sigmoid()
        logits = positive / config.temperature, negatives / config.temperature
        return weight * cross_entropy(*logits, multiplicity)


def kth_best(logits: Tensor, positive: Tensor, k: int) -> Tensor:
    """Return the k-th largest of each row of logits [b, C] and its positive [b]; -inf if there are fewer."""
    missing = max(0, k - 1 - logits.shape[1])
    candidates = functional.pad(torch.cat([logits, positive[:, None]], 1), (0, missing), value=-torch.inf)
    return candidates.topk(k, dim=1).values[:, -1]
