"""The loss of a batch: draw negatives, embed, score and average."""

import torch
from torch import Tensor

from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import Negatives, NegativeSampler
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.scorer import BatchEmbeddings, EncodedItems, Scorer, ScoringConfig
from twotower.model.towers.embedding_layout import EmbeddingLayout
from twotower.model.towers.two_tower import TwoTower


class BatchLoss:
    """Computes the loss of a batch with the towers, the sampler and the loss that it holds.

    Attributes:
        scorer: built with the settings of the loss.
        seed_offset: added to the seed of dropout.
    """

    seed_offset = 0

    def __init__(self, model: TwoTower, sampler: NegativeSampler, loss: Loss) -> None:
        self.model, self.sampler, self.loss = model, sampler, loss
        self.scorer = self.build_scorer(loss.config.scoring(), sampler.num_items)

    def build_scorer(self, config: ScoringConfig, num_items: int) -> Scorer:
        """Build the scorer."""
        return Scorer(config, num_items)

    def __call__(self, batch: Batch, generator: torch.Generator, remembers: bool = False) -> Tensor:
        """Return the loss of a batch.

        Args:
            generator: decides the draws of negatives.
            remembers: the sampler may store the embeddings for later batches; a rehearsal stores nothing.
        """
        negatives = self.draw(batch.positives, batch.users_of_positives(), generator)
        encoded = self.scorer.items(negatives, batch)
        users, items = self.model.encode_both(encoded.rows, batch.users)
        if remembers:
            self.sampler.remember(encoded.rows, items.detach())
        return self.mean(users, items, encoded, negatives, batch)

    def draw(self, positives: Tensor, users: Tensor, generator: torch.Generator) -> Negatives:
        """Draw negatives for positives [P] of users [P], if the loss uses them, and their query negatives."""
        if not self.scorer.config.uses_negatives:
            zeros = torch.zeros(len(positives), device=positives.device)
            return Negatives(positives[:0], zeros[:0], zeros[:0], zeros)
        drawn: Negatives = self.sampler(positives, generator, self.sampler.query_rows(users, generator))
        return drawn

    def mean(
        self, users: Tensor, items: Tensor, encoded: EncodedItems, negatives: Negatives, batch: Batch
    ) -> Tensor:
        """Return the mean loss of the examples: the mean over members, the sum over truncations."""
        embedded = self.scorer.embeddings(users, items, encoded, negatives)
        terms = self.scorer.terms(negatives, batch, self.model.item_bias)
        members, bias_width = self.model.num_members, self.model.item_bias.config.width
        losses = [
            self.loss.batch_mean(self.scorer(view, terms, negatives, batch))
            for view in views(embedded, self.scorer.config, members, bias_width)
        ]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum() / members


def views(
    embedded: BatchEmbeddings, scoring: ScoringConfig, num_members: int = 1, bias_width: int = 0
) -> list[BatchEmbeddings]:
    """Return the views of embeddings that have a loss each: all columns and truncations, or the members."""
    dim = embedded.users.shape[-1]
    if num_members == 1:
        truncations = scoring.truncations(dim)
        return [embedded, *(BatchEmbeddings(*map(truncate, embedded)) for truncate in truncations)]
    layout, (users, *items) = EmbeddingLayout(dim - bias_width, bias_width), embedded
    of_users = layout.members(users, num_members, factor=num_members)
    of_items = [layout.members(each, num_members) for each in items]
    return [BatchEmbeddings(*parts) for parts in zip(of_users, *of_items, strict=True)]
