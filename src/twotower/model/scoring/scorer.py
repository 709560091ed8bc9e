"""From the embeddings of a batch to its logits.

Shapes: B users, P positives, S impressions, C negatives, H query negatives of a positive, D embedding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.model.negatives.sampler import Negatives, NegativeSampler
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.link import link
from twotower.model.scoring.logits import FalseNegatives, Logits, SharedNegatives
from twotower.model.towers.embedding_layout import EmbeddingLayout
from twotower.model.towers.item_bias.item_bias import ItemBias
from twotower.model.towers.two_tower import pair_scores
from twotower.parallel.ranks import gather_each, gather_rows, rank, world_size

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
        query_negatives: [P * H] positions; that of the positive at padding.
    """

    rows: Tensor
    positives: Tensor
    impressions: Tensor
    query_negatives: Tensor


class Scorer(nn.Module):
    """Computes logits: dot product, temperature, link, prior odds, log-q correction, masks."""

    def __init__(self, config: ScoringConfig, num_items: int, num_members: int = 1) -> None:
        super().__init__()
        self.config, self.num_members = config, num_members
        self.lookup = RowLookup(num_items)
        initial, learned = config.temperature, config.learns_temperature
        self.temperature = None if initial is None else Temperature(initial, learned)

    def negatives(self, sampler: NegativeSampler, batch: Batch, generator: torch.Generator) -> Negatives:
        """Draw the negatives of a batch, and the query negatives of its positives.

        Processes that train together draw the same, for the positives of all; each keeps the query negatives
        of its own.
        """
        if not self.config.uses_negatives:
            zeros = torch.zeros(len(batch.positives), device=batch.positives.device)
            return Negatives(batch.positives[:0], zeros[:0], zeros[:0], zeros)
        to_user, users = batch.positive_to_user, batch.users.rows
        users = users[: len(batch.positives)] if to_user is None else users[to_user]
        pairs = torch.stack([batch.positives, users, torch.full_like(users, rank())])
        pairs = gather_rows(pairs.T if batch.has_weight else pairs.T[:0])
        negatives: Negatives = sampler(pairs[:, 0], generator, sampler.query_rows(pairs[:, 1], generator))
        if world_size() == 1:
            return negatives
        is_own, queries, log_q = pairs[:, 2] == rank(), negatives.query_rows, negatives.query_log_q

        def own(values: Tensor) -> Tensor:
            """Return the values of the positives of this process; zeros if its examples do not count."""
            return values[is_own] if batch.has_weight else values.new_zeros(size, *values.shape[1:])

        size = len(batch.positives)
        return replace(
            negatives,
            positive_log_q=own(negatives.positive_log_q),
            query_rows=None if queries is None else own(queries),
            query_log_q=None if log_q is None else own(log_q),
        )

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
            others, inverse = joined[absent].unique(return_inverse=True)
            positions[absent] = (inverse + len(rows)).to(positions.dtype)
            rows = torch.cat([rows, others])
        return EncodedItems(rows, *positions.split([*map(len, wanted)]))

    def forward(
        self,
        users: Tensor,
        items: Tensor,
        encoded: EncodedItems,
        negatives: Negatives,
        batch: Batch,
        item_bias: ItemBias,
    ) -> list[Logits]:
        """Return the logits of a batch: of whole embeddings, then of each truncation.

        Args:
            users: [B, D] (or [B, K, D]) embeddings of the users of the positives, then of the impressions.
            items: [R, D] embeddings of `encoded.rows`.
        """
        size, fresh, to_user = len(batch.positives), negatives.num_encoded, batch.positive_to_user
        # index_select, not items[...]: its gradient is deterministic with any number of threads.
        positives, impressions, queries = (items.index_select(0, each) for each in encoded[1:])
        shared = items if len(items) == fresh else items[:fresh]
        if negatives.embeddings is not None:
            shared = torch.cat([shared, negatives.embeddings.to(shared.dtype)])
        prior = item_bias.log_prior_odds(batch.users.request_times)
        positive_addend, correction, query_addend = self._corrections(negatives)
        impression_addend = correction.new_zeros(())
        if prior is not None:
            positive_addend = positive_addend + prior.for_pairs(batch.positives, to_user)
            if len(batch.impressions):
                later = torch.arange(size, size + len(impressions), device=items.device)
                impression_addend = prior.for_pairs(batch.impressions, later)
            if negatives.query_rows is not None:
                query_addend = query_addend + prior.for_pairs(negatives.query_rows, to_user)
            prior = prior._replace(moments=prior.moments[: len(users) - len(impressions)])
        known_users, known_items, first_user = batch.known_positives, batch.known_items, 0
        if negatives.total is not None:  # a share, for the users of all processes
            known_users, known_items, times, first_user = _of_all_ranks(batch, len(users))
            prior = item_bias.log_prior_odds(times)
        prior = prior and prior.select(negatives.rows)
        if negatives.query_rows is not None:
            query_addend = query_addend.masked_fill(negatives.query_rows == 0, -torch.inf)
        masks = FalseNegatives(known_users, self.lookup.positions(negatives.rows, known_items))

        def logits(
            users: Tensor, shared: Tensor, positives: Tensor, impressions: Tensor, queries: Tensor
        ) -> Logits:
            if self.temperature is not None:
                users = self.temperature(users)
            users, of_impressions = users.split([len(users) - len(impressions), len(impressions)])
            of_positives = users if to_user is None else users.index_select(0, to_user)
            query = None
            if negatives.query_rows is not None:
                query = queries.view(*negatives.query_rows.shape, users.shape[-1])
                query = self._pairs(of_positives[:, None], query) + query_addend
            labelled = None
            if len(impressions):
                labelled = self._pairs(of_impressions, impressions) + impression_addend, batch.weights[size:]
            shares = negatives.total, first_user
            return Logits(
                self._pairs(of_positives, positives) + positive_addend,
                batch.weights[:size],
                users,
                positives,
                SharedNegatives(shared, correction, negatives.log_multiplicity, masks, prior, *shares),
                query,
                to_user,
                self.config.power,
                labelled,
            )

        whole = users, shared, positives, impressions, queries
        if self.num_members > 1:
            bias_width = item_bias.config.width
            layout = EmbeddingLayout(users.shape[-1] - bias_width, bias_width)
            of_users = layout.members(users, self.num_members, factor=self.num_members)
            others = (layout.members(each, self.num_members) for each in whole[1:])
            return list(map(logits, of_users, *others))
        return [logits(*whole)] + [
            logits(*map(truncate, whole)) for truncate in self.config.truncations(users.shape[-1])
        ]

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


def _of_all_ranks(batch: Batch, num_users: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Gather the known items of the users of all processes.

    Returns:
        Rows of users among those of all processes, their items, the request times of all users, and the
        number of users of the processes before this one.
    """
    users = batch.known_positives
    known = torch.stack([users, batch.known_items, torch.full_like(users, rank())], 1)
    own_number = torch.tensor([num_users], device=users.device)
    numbers, known, times = gather_each(own_number, known, batch.users.request_times)
    users, items, ranks = known.T.contiguous()
    first_users = (numbers.cumsum(0) - numbers).to(users.dtype)
    return users + first_users[ranks], items, times, int(first_users[rank()])
