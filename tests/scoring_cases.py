"""Logits of embeddings that a test makes up, through the `Scorer`."""

from typing import Any, cast

import torch
from torch import Tensor

from twotower.model.losses.batch_loss import views
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import Negatives
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.logits import Logits
from twotower.model.scoring.scorer import EncodedItems, Scorer, ScoringConfig
from twotower.model.towers.item_bias.item_bias import LogPriorOdds
from twotower.model.towers.user_batch import UserBatch

NONE = torch.empty(0, dtype=torch.int64)


class Prior:
    """Prior odds at hand, as an item bias gives them."""

    def __init__(self, odds: LogPriorOdds | None) -> None:
        self.odds = odds

    def log_prior_odds(self, times: Tensor) -> LogPriorOdds | None:
        return self.odds


def negatives_of(num_negatives: int, num_positives: int, **more: Any) -> Negatives:
    """Rows 1 to C, each drawn once, with q = 1, unless said otherwise."""
    zeros = {"log_multiplicity": num_negatives, "log_q": num_negatives, "positive_log_q": num_positives}
    return Negatives(
        **{"rows": torch.arange(1, num_negatives + 1)}
        | {name: torch.zeros(size) for name, size in zeros.items()}
        | more
    )


def logits_of(
    scorer: Scorer | ScoringConfig,
    users: Tensor,
    positives: Tensor,
    items: Tensor,
    negatives: Negatives,
    *,
    masked: Tensor | None = None,
    weights: Tensor | None = None,
    query: Tensor | None = None,
    impressions: Tensor | None = None,
    to_user: Tensor | None = None,
    prior: LogPriorOdds | None = None,
    positive_rows: Tensor | None = None,
    num_members: int = 1,
    bias_width: int = 0,
) -> list[Logits]:
    """Compute the logits of embeddings.

    Args:
        scorer: or its settings.
        users: [B, D].
        positives: [P, D].
        items: [C, D] of the negatives.
        negatives: their rows and probabilities; query rows too.
        masked: [2, M] pairs of a user, ascending, and a column; -1 for an item that is no negative.
        weights: [P + S]; None: ones.
        query: [P, H, D].
        impressions: [S, D].
        to_user: [P].
        prior: of all items, row 0 included.
        positive_rows: [P], for the prior.
        num_members: of an ensemble.
        bias_width: columns of the item bias, the last of D.
    """
    if isinstance(scorer, ScoringConfig):
        scorer = Scorer(scorer, 10_000).to(users.dtype)
    pairs = torch.empty(2, 0, dtype=torch.int64) if masked is None else masked
    known = torch.where(pairs[1] < 0, 9_999, negatives.rows[pairs[1]] if len(negatives.rows) else 9_999)
    labelled = positives[:0] if impressions is None else impressions
    queries = positives[:0] if query is None else query.flatten(0, 1)
    every = [items, positives, labelled, queries]
    ranges = torch.arange(sum(map(len, every))).split([*map(len, every)])
    batch = Batch(
        users=UserBatch(NONE, NONE, NONE, NONE),
        positives=torch.zeros(len(positives), dtype=torch.int64) if positive_rows is None else positive_rows,
        weights=torch.ones(len(positives) + len(labelled), dtype=users.dtype) if weights is None else weights,
        known_positives=pairs[0].contiguous(),
        known_items=known,
        number=0,
        impressions=torch.ones(len(labelled), dtype=torch.int64),
        positive_to_user=to_user,
    )
    encoded = EncodedItems(NONE, *ranges[1:])
    embedded = scorer.embeddings(users, torch.cat(every), encoded, negatives)
    terms = scorer.terms(negatives, batch, cast(Any, Prior(prior)))
    found = views(embedded, scorer.config, num_members, bias_width)
    return [scorer(view, terms, negatives, batch) for view in found]


def loss_of(loss: Loss, *embeddings: Any, scorer: Scorer | None = None, **more: Any) -> Tensor:
    """Compute the loss of embeddings; the arguments are those of `logits_of`."""
    every = logits_of(scorer or loss.config.scoring(), *embeddings, **more)
    return torch.stack([loss.batch_mean(logits) for logits in every]).sum()
