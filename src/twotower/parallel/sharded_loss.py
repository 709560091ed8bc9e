"""The loss of a batch whose examples several processes share.

Each process embeds the users of its examples. All draw the same negatives, for the positives of all. If
histories read the item tower, each process embeds all items; otherwise a share, and the processes exchange
embeddings: of items, or of users with a softmax, if users are fewer. Then each process has the logits of all
users with its share of the negatives, and the sums over the shares are added.

Shapes: see `model.scoring.scorer`.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from twotower.model.losses.batch_loss import BatchLoss
from twotower.model.negatives.sampler import Negatives
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.logits import FalseNegatives, Logits, product_dtype
from twotower.model.scoring.scorer import BatchEmbeddings, LogitTerms, Scorer, ScoringConfig
from twotower.model.towers.embedding_tables import sparse_parameters
from twotower.model.towers.item_bias.item_bias import ItemBias, LogPriorOdds
from twotower.model.towers.two_tower import TwoTower
from twotower.parallel.ranks import (
    all_gather_rows,
    gather_rows,
    log_sum_over_ranks,
    rank,
    share,
    sum_over_ranks,
    world_size,
)

RANK_SEED = 10**12
"""Difference of the random seeds of two processes."""


class ExchangedEmbeddings(Enum):
    """Which embeddings the processes exchange."""

    NONE = auto()
    ITEMS = auto()
    USERS = auto()


@dataclass(frozen=True)
class NegativesShare(Negatives):
    """The share of this process in the negatives of a batch; the item tower encodes all of its rows.

    Attributes:
        total: number of negatives of all shares.
        first_user: number of users of the processes before this one.
    """

    total: int = 0
    first_user: int = 0


@dataclass(frozen=True)
class ShardedLogits(Logits):
    """The logits of the users of all processes with the share of this process in the negatives."""

    total: int = 0

    @property
    def num_shares(self) -> int:
        return world_size()

    @property
    def largest_share(self) -> int:
        return -(-self.total // world_size())

    def log_sums(self, values: Tensor) -> Tensor:
        return log_sum_over_ranks(values)


class ShardedScorer(Scorer):
    """A scorer that takes a `NegativesShare`, too."""

    def shared_terms(
        self, negatives: Negatives, batch: Batch, item_bias: ItemBias, prior: LogPriorOdds | None
    ) -> tuple[LogPriorOdds | None, FalseNegatives]:
        if not isinstance(negatives, NegativesShare):
            return super().shared_terms(negatives, batch, item_bias, prior)
        pairs = torch.stack([batch.known_positives + negatives.first_user, batch.known_items], 1)
        pairs, times = all_gather_rows(pairs, batch.users.request_times)
        users, items = pairs.T.contiguous()
        of_all = item_bias.log_prior_odds(times)
        columns = self.lookup.positions(negatives.rows, items)
        return of_all and of_all.select(negatives.rows), FalseNegatives(users, columns)

    def forward(
        self, embedded: BatchEmbeddings, terms: LogitTerms, negatives: Negatives, batch: Batch
    ) -> Logits:
        logits: Logits = super().forward(embedded, terms, negatives, batch)
        if not isinstance(negatives, NegativesShare):
            return logits
        to_user = logits.positive_to_user
        if to_user is None:
            to_user = torch.arange(len(logits.users), device=logits.users.device)
        queries = () if logits.query_negatives is None else (logits.query_negatives,)
        positive, weights, users, to_user, *gathered = all_gather_rows(
            logits.positive, logits.weights, logits.users, to_user + negatives.first_user, *queries
        )
        own: dict[str, Any] = vars(logits) | {"positive": positive, "weights": weights, "users": users}
        own |= {"positive_to_user": to_user, "query_negatives": gathered[0] if queries else None}
        return ShardedLogits(**own, total=negatives.total)


class ShardedBatchLoss(BatchLoss):
    """A loss in each process, whose mean over the processes is the loss of the whole batch.

    It is the mean because training averages the gradients.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.seed_offset = rank() * RANK_SEED

    def build_scorer(self, config: ScoringConfig, num_items: int) -> Scorer:
        return ShardedScorer(config, num_items)

    def __call__(self, batch: Batch, generator: torch.Generator, remembers: bool = False) -> Tensor:
        has_examples = bool(batch.weights.any())
        negatives, first_user = self._draw_together(batch, has_examples, generator)
        exchanged = self._exchanged_embeddings(negatives, batch)
        if exchanged is ExchangedEmbeddings.USERS:
            negatives = _own_share(negatives, first_user)
        encoded = self.scorer.items(negatives, batch)
        num_shared = negatives.num_encoded if exchanged is ExchangedEmbeddings.ITEMS else 0
        users, items = self._encode(batch, encoded.rows, num_shared)
        if remembers:
            self.sampler.remember(encoded.rows, items.detach())
        if exchanged is ExchangedEmbeddings.USERS:
            return self.mean(users, items, encoded, negatives, batch) + empty_lookups(self.model)
        weight = batch.weights.sum()
        total = sum_over_ranks(weight)
        if not has_examples:
            # Each process needs a gradient of each parameter, because other processes wait for it.
            trained = [*self.scorer.parameters(), *self.loss.parameters()]
            return sum(((each * 0).sum() for each in trained), (users * 0).sum() + (items * 0).sum())
        loss = self.mean(users, items, encoded, negatives, batch) + empty_lookups(self.model)
        return loss * (weight / total * world_size())

    def _draw_together(
        self, batch: Batch, has_examples: bool, generator: torch.Generator
    ) -> tuple[Negatives, int]:
        """Draw the negatives of the positives of all processes.

        Returns:
            The negatives, with the query negatives and log q of the positives of this process (zeros if its
            examples do not count), and the number of users of the processes before this one.
        """
        positives, users = batch.positives, batch.users_of_positives()
        pairs = torch.stack([positives, users, torch.full_like(users, rank())], 1)
        number = torch.tensor([len(batch.users.request_times)], device=users.device)
        pairs, numbers = all_gather_rows(pairs if has_examples else pairs[:0], number)
        drawn = self.draw(pairs[:, 0], pairs[:, 1], generator)
        is_own = pairs[:, 2] == rank()

        def own(values: Tensor) -> Tensor:
            return values[is_own] if has_examples else values.new_zeros(len(positives), *values.shape[1:])

        rows, log_q = drawn.query_rows, drawn.query_log_q
        drawn = replace(
            drawn,
            positive_log_q=own(drawn.positive_log_q),
            query_rows=None if rows is None else own(rows),
            query_log_q=None if log_q is None else own(log_q),
        )
        return drawn, int(numbers[: rank()].sum())

    def _exchanged_embeddings(self, negatives: Negatives, batch: Batch) -> ExchangedEmbeddings:
        if self.model.history.config.reads_towers:  # each process embeds most items anyway
            return ExchangedEmbeddings.NONE
        is_half = product_dtype(self.sampler.frequencies) == torch.float16
        is_possible = self.loss.takes_share_of_negatives() and negatives.embeddings is None and not is_half
        num_users = max(batch.num_rows or 0, world_size() - 1)  # a share has a row at least
        is_possible &= num_users < len(negatives.rows)
        return ExchangedEmbeddings.USERS if is_possible else ExchangedEmbeddings.ITEMS

    def _encode(self, batch: Batch, rows: Tensor, num_shared: int) -> tuple[Tensor, Tensor]:
        """Embed the users of a batch, and items [R]; the first `num_shared` are the same for all processes.

        Each process embeds a share of the shared items, and receives the rest with their gradients.
        """
        if not num_shared:
            return self.model.encode_both(rows, batch.users)
        own, unshared = rows[:num_shared][share(num_shared)], rows[num_shared:]
        users, items = self.model.encode_both(torch.cat([own, unshared]), batch.users)
        return users, torch.cat([gather_rows(items[: len(own)]), items[len(own) :]])


def _own_share(negatives: Negatives, first_user: int) -> NegativesShare:
    own = share(len(negatives.rows))
    columns = {name: getattr(negatives, name)[own] for name in ("rows", "log_multiplicity", "log_q")}
    return NegativesShare(**(vars(negatives) | columns), total=len(negatives.rows), first_user=first_user)


def empty_lookups(model: TwoTower) -> Tensor:
    """Return 0, whose gradient for each sparse table is sparse and has no rows.

    The processes exchange the gradients of all tables, also of those that no tower reads.
    """
    zero = torch.zeros(())
    for table in sparse_parameters(model):
        if table.requires_grad:
            nothing = torch.empty(0, dtype=torch.long, device=table.device)
            zero = zero + functional.embedding(nothing, table, sparse=True).sum()
    return zero
