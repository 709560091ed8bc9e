"""From the embeddings of a batch to its logits.

Shapes: B users, P positives, S impressions, C negatives, H query negatives of a positive, R encoded items, D
embedding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.model.negatives.sampler import Negatives
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.link import link
from twotower.model.scoring.logits import FalseNegatives, Logits, SharedNegatives
from twotower.model.towers.item_bias.item_bias import ItemBias, LogPriorOdds
from twotower.model.towers.two_tower import pair_scores

LOWEST, HIGHEST = 0.01, 10.0  # of a learned temperature


@dataclass(frozen=True)
class ScoringConfig:
    """The settings of a `Scorer`, as the loss's `Config.scoring` returns them.

    Attributes:
        temperature: divides scores; None: no division.
        learns_temperature: train the temperature, which is then the initial value.
        power: of the link function; None: odds are exponentials of scores.
        log_q_correction: `all` subtracts log q from every logit, `negatives` the log of the expected number
            of draws from logits of negatives only, `none` nothing.
        num_halvings: number of truncations of the embeddings, each to half the width, with separate logits.
        normalizes_truncations: rescale truncated embeddings to length 1.
        uses_negatives: whether negatives are drawn.
    """

    temperature: float | None = None
    learns_temperature: bool = False
    power: float | None = None
    log_q_correction: Literal["none", "all", "negatives"] = "none"
    num_halvings: int = 0
    normalizes_truncations: bool = False
    uses_negatives: bool = True

    def truncations(self, dim: int) -> list[Callable[[Tensor], Tensor]]:
        """Return functions from embeddings [..., D] to each shorter width, the widest first."""
        widths = [dim >> halvings for halvings in range(1, self.num_halvings + 1)]
        return [partial(truncate, width=width, normalize=self.normalizes_truncations) for width in widths]


def truncate(embeddings: Tensor, width: int, normalize: bool) -> Tensor:
    """Return the first `width` columns of embeddings [..., D], rescaled to length 1 if asked."""
    first = embeddings[..., :width]
    return functional.normalize(first, dim=-1) if normalize else first


class Temperature(nn.Module):
    """Divides embeddings, and so their scores, by a temperature, or a learned one with an initial value.

    The logarithm is trained. It is clamped to [0.01, 10], extended to `initial`, as it can run to 0.
    """

    def __init__(self, initial: float, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        self.lowest, self.highest = math.log(min(LOWEST, initial)), math.log(max(HIGHEST, initial))
        self.logarithm = nn.Parameter(torch.tensor(math.log(initial)), requires_grad=learned)

    @property
    def value(self) -> Tensor:
        """The temperature as a scalar tensor."""
        return self.logarithm.exp()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings over the temperature."""
        if self.learned:
            with torch.no_grad():  # the parameter: a clamped value has no gradient
                self.logarithm.clamp_(self.lowest, self.highest)
        return embeddings / self.value


class RowLookup(nn.Module):
    """Finds rows from 0 to `num_items` in a list of distinct rows by a table of all items."""

    table: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        # All -1 between two calls: filling a new table of millions of items would be slow.
        self.register_buffer("table", torch.full((num_items + 1,), -1, dtype=torch.int32), persistent=False)

    def positions(self, rows: Tensor, wanted: Tensor) -> Tensor:
        """Return the position of each wanted row [W] among distinct rows [C], int32; -1 for an absent row."""
        rows = rows.long()  # index_copy_ does not support int32
        self.table.index_copy_(0, rows, torch.arange(len(rows), dtype=torch.int32, device=rows.device))
        positions = self.table.index_select(0, wanted)
        self.table.index_fill_(0, rows, -1)
        return positions


class EncodedItems(NamedTuple):
    """The items that a batch encodes, negatives first, and the positions of other items among them.

    Attributes:
        rows: [R] item rows.
        positives: [P] positions.
        impressions: [S] positions.
        query_negatives: [P * H] positions; padding has the position of the positive.
    """

    rows: Tensor
    positives: Tensor
    impressions: Tensor
    query_negatives: Tensor


class BatchEmbeddings(NamedTuple):
    """The embeddings of a batch, or a view of them: some of their columns.

    Attributes:
        users: [B + S, D] of the users of the positives, then of the impressions.
        negatives: [C, D].
        positives: [P, D].
        impressions: [S, D].
        query_negatives: [P * H, D].
    """

    users: Tensor
    negatives: Tensor
    positives: Tensor
    impressions: Tensor
    query_negatives: Tensor


class LogitTerms(NamedTuple):
    """What is added to the scores of a batch, the same for every view, and the negatives that are masked.

    Attributes:
        positives: [P], or a scalar.
        negatives: [C]: minus log q, or zeros.
        query_negatives: [P, H]; -inf where there is none.
        impressions: [S], or a scalar.
        prior: log prior odds of the negatives at the request times.
        false_negatives: the negatives that a user is known to have interacted with.
    """

    positives: Tensor
    negatives: Tensor
    query_negatives: Tensor
    impressions: Tensor
    prior: LogPriorOdds | None
    false_negatives: FalseNegatives


class Scorer(nn.Module):
    """Computes logits: dot product, temperature, link, prior odds, log-q correction, masks."""

    def __init__(self, config: ScoringConfig, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.lookup = RowLookup(num_items)
        initial, learned = config.temperature, config.learns_temperature
        self.temperature = None if initial is None else Temperature(initial, learned)

    def items(self, negatives: Negatives, batch: Batch) -> EncodedItems:
        """Return the items to encode, each once."""
        wanted, queries = [batch.positives, batch.impressions], negatives.query_rows
        if queries is None:
            wanted.append(batch.positives[:0])
        else:  # the positive at padding, so that the unknown item has no gradient
            wanted.append(torch.where(queries > 0, queries, batch.positives[:, None]).flatten())
        rows, joined = negatives.rows[: negatives.num_encoded], torch.cat(wanted)
        positions = self.lookup.positions(rows, joined)
        absent = positions < 0
        if bool(absent.any()):  # most samplers include the positives
            missing, inverse = joined[absent].unique(return_inverse=True)
            positions[absent] = (inverse + len(rows)).to(positions.dtype)
            rows = torch.cat([rows, missing])
        return EncodedItems(rows, *positions.split([*map(len, wanted)]))

    def embeddings(
        self, users: Tensor, items: Tensor, encoded: EncodedItems, negatives: Negatives
    ) -> BatchEmbeddings:
        """Select the embeddings of a batch from the embeddings [R, D] of `encoded.rows`."""
        fresh = negatives.num_encoded
        shared = items if len(items) == fresh else items[:fresh]
        if negatives.embeddings is not None:
            shared = torch.cat([shared, negatives.embeddings.to(shared.dtype)])
        # index_select, not items[...]: its gradient is deterministic with any number of threads.
        return BatchEmbeddings(users, shared, *(items.index_select(0, each) for each in encoded[1:]))

    def terms(self, negatives: Negatives, batch: Batch, item_bias: ItemBias) -> LogitTerms:
        """Return what is added to the scores of a batch, and its masks."""
        size, to_user, impressions = len(batch.positives), batch.positive_to_user, batch.impressions
        of_positives, of_negatives, of_queries = self._corrections(negatives)
        of_impressions = of_negatives.new_zeros(())
        prior = item_bias.log_prior_odds(batch.users.request_times)
        if prior is not None:
            of_positives = of_positives + prior.for_pairs(batch.positives, to_user)
            if len(impressions):
                later = torch.arange(size, size + len(impressions), device=impressions.device)
                of_impressions = prior.for_pairs(impressions, later)
            if negatives.query_rows is not None:
                of_queries = of_queries + prior.for_pairs(negatives.query_rows, to_user)
        if negatives.query_rows is not None:
            of_queries = of_queries.masked_fill(negatives.query_rows == 0, -torch.inf)
        shared = self.shared_terms(negatives, batch, item_bias, prior)
        return LogitTerms(of_positives, of_negatives, of_queries, of_impressions, *shared)

    def shared_terms(
        self, negatives: Negatives, batch: Batch, item_bias: ItemBias, prior: LogPriorOdds | None
    ) -> tuple[LogPriorOdds | None, FalseNegatives]:
        """Return the log prior odds and the masks of the negatives, for the users of the positives.

        `prior`: log prior odds of the catalogue at the request times of the batch.
        """
        if prior is not None:
            num_users = len(prior.moments) - len(batch.impressions)
            prior = prior._replace(moments=prior.moments[:num_users]).select(negatives.rows)
        columns = self.lookup.positions(negatives.rows, batch.known_items)
        return prior, FalseNegatives(batch.known_positives, columns)

    def forward(
        self, embedded: BatchEmbeddings, terms: LogitTerms, negatives: Negatives, batch: Batch
    ) -> Logits:
        """Return the logits of a batch from its embeddings, or from a view of them."""
        size, to_user, num_impressions = len(batch.positives), batch.positive_to_user, len(batch.impressions)
        users = embedded.users if self.temperature is None else self.temperature(embedded.users)
        users, of_impressions = users.split([len(users) - num_impressions, num_impressions])
        of_positives = users if to_user is None else users.index_select(0, to_user)
        queries = impressions = None
        if negatives.query_rows is not None:
            queries = embedded.query_negatives.view(*negatives.query_rows.shape, users.shape[-1])
            queries = self._pairs(of_positives[:, None], queries) + terms.query_negatives
        if num_impressions:
            scores = self._pairs(of_impressions, embedded.impressions) + terms.impressions
            impressions = scores, batch.weights[size:]
        multiplicity, masks = negatives.log_multiplicity, terms.false_negatives
        return Logits(
            self._pairs(of_positives, embedded.positives) + terms.positives,
            batch.weights[:size],
            users,
            embedded.positives,
            SharedNegatives(embedded.negatives, terms.negatives, multiplicity, masks, terms.prior),
            queries,
            to_user,
            self.config.power,
            impressions,
        )

    def _pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the linked scores of pairs; see `pair_scores`. They are summed in float32 at least."""
        precision = torch.promote_types(users.dtype, torch.float32)
        return link(pair_scores(users, items, precision), self.config.power)

    def _corrections(self, negatives: Negatives) -> tuple[Tensor, Tensor, Tensor]:
        """Return the addends of logits of positives [P], negatives [C] and query negatives [P, H]."""
        kind, log_q, of_positive = self.config.log_q_correction, negatives.log_q, negatives.positive_log_q
        of_queries = log_q.new_zeros(0) if negatives.query_log_q is None else negatives.query_log_q
        if kind == "none":
            return torch.zeros_like(of_positive), torch.zeros_like(log_q), torch.zeros_like(of_queries)
        if kind == "all":
            return -of_positive, -log_q, -of_queries
        draws = math.log(negatives.num_draws or 1)
        return torch.zeros_like(of_positive), -log_q - draws, -of_queries - draws
