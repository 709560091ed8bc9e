"""Softmax loss at k: positives far below the user's top k count less."""

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.config.spec import PositiveFloat, PositiveInt
from twotower.losses.loss import Loss
from twotower.negatives.sampler import NegativeSampler
from twotower.scoring.fused_softmax import cross_entropy
from twotower.towers.two_tower_config import TwoTowerConfig


class SlAtK(Loss):
    """L = sigma((s+ - threshold) / weight_temperature) x the softmax's loss at `temperature`; of cosines.

    The threshold is the user's k-th best score, of the positive and the candidates: what counts is what can
    come into the top k, as in NDCG@k. It is taken anew in each batch and has no slope.

    Needs: unit vectors and no item bias, since else it falls by pushing positives away; k candidates.
    When to prefer: for NDCG at a small k, started after or beside a softmax that it is tuned against.
    Reference: Yang et al., Breaking the Top-K Barrier, KDD 2025, section 4; there thresholds are of the known
    items and sampled ones, and are kept for some epochs.
    """

    class Config(Loss.Config):
        """Settings of a softmax at k."""

        k: PositiveInt = 20
        """Length of the list that counts."""
        temperature: PositiveFloat = 0.1
        """Of the softmax."""
        weight_temperature: PositiveFloat = 1.0
        """Of the weights: the lower, the less a positive below the threshold counts."""

        @property
        def needs(self) -> frozenset[str]:
            """Cosines."""
            return frozenset({"unit_vectors", "no_item_bias"})

        def problems(
            self,
            towers: TwoTowerConfig | None = None,
            negatives: NegativeSampler.Config | None = None,
            batch_size: int | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse fewer candidates than k."""
            yield from super().problems(towers, negatives, batch_size)
            if negatives is None or batch_size is None:
                return
            num_draws = negatives.num_draws(batch_size)
            if num_draws is not None and num_draws < self.k:
                yield (
                    "k",
                    f"is {self.k}, but {negatives.owner.__name__} draws only {num_draws} candidates a batch, "
                    "of which no k-th is known; draw more, use negatives=catalogue, or lower it",
                )

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the weighted cross-entropy, [b]."""
        config = self.config
        threshold = threshold_of(negatives.detach(), positive.detach(), config.k)
        weight = ((positive - threshold) / config.weight_temperature).sigmoid()
        logits = positive / config.temperature, negatives / config.temperature
        return weight * cross_entropy(*logits, multiplicity)


def threshold_of(logits: Tensor, positive: Tensor, k: int) -> Tensor:
    """Return the k-th largest of each row [b, C] and its positive [b]; -inf where there are fewer."""
    if logits.shape[1] < k - 1:
        return torch.full_like(positive, -torch.inf)
    best = logits.topk(min(k, logits.shape[1]), dim=1).values
    last = best[:, k - 1] if best.shape[1] == k else torch.full_like(positive, -torch.inf)
    return torch.maximum(last, positive if k == 1 else torch.minimum(best[:, k - 2], positive))
