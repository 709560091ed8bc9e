"""The logits of a batch: losses are computed and differentiated block by block.

Shapes: B users, P positives, C negatives, H query negatives of a positive, M false negatives, D embedding, b
rows of a block.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from twotower.config.errors import InputError
from twotower.model.scoring.link import link
from twotower.model.towers.item_bias.item_bias import LogPriorOdds

PairLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(positive [b], negatives [b, C + H], multiplicity [C + H]) -> loss [b]; see `Loss.forward`."""

BLOCK_ELEMENTS = 1 << 20  # 4 MiB of float32 logits: stays in cache on a CPU
ALIGNED = 16  # rows of logits are padded to a multiple of this, for aligned vector instructions


def padded(num_negatives: int) -> int:
    """Return the number of columns of a block of logits, at least one more than the negatives."""
    return (num_negatives // ALIGNED + 1) * ALIGNED


class FalseNegatives(NamedTuple):
    """Pairs of a user and a negative that the user is known to have interacted with.

    Attributes:
        users: [M] ascending rows of users.
        columns: [M] int32 positions among the negatives; -1 for other items.
    """

    users: Tensor
    columns: Tensor

    def select(self, users: Tensor) -> "FalseNegatives":
        """Return the pairs of users [P], ascending rows that may repeat, numbered from 0."""
        own = users.to(self.users.dtype)
        starts, ends = (torch.searchsorted(self.users, own, right=right) for right in (False, True))
        counts = ends - starts
        rows = torch.repeat_interleave(counts)
        pairs = (starts + counts - counts.cumsum(0))[rows] + torch.arange(len(rows), device=users.device)
        return FalseNegatives(rows.to(self.users.dtype), self.columns[pairs])

    def blocks(self, num_users: int, num_columns: int, block_rows: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield the users of each block of logits [b, num_columns], and the flat positions to mask in it.

        The column -1 of an item that is no negative is the last one of the previous row, which is padding.
        """
        starts = range(0, num_users, block_rows)
        bounds = torch.tensor([*starts, num_users], dtype=self.users.dtype, device=self.users.device)
        edges: list[int] = torch.searchsorted(self.users, bounds).tolist()
        for start, (begin, end) in zip(starts, itertools.pairwise(edges), strict=True):
            masked = (self.users[begin:end] - start) * num_columns + self.columns[begin:end]
            yield slice(start, start + block_rows), masked.long()  # as index_fill_ takes it


@dataclass(frozen=True)
class SharedNegatives:
    """The negatives of all users of a batch.

    Attributes:
        embeddings: [C, D].
        correction: [C] addends of the logits: minus log q, or zeros.
        log_multiplicity: [C] log of the number of draws.
        prior: log prior odds of the negatives at the request times.
    """

    embeddings: Tensor
    correction: Tensor
    log_multiplicity: Tensor
    false_negatives: FalseNegatives
    prior: LogPriorOdds | None = None


@dataclass(frozen=True)
class Logits:
    """The logits of the positives of a batch, and the operands of the logits of its negatives.

    Attributes:
        positive: [P].
        weights: [P] of the examples; only their ratios matter.
        users: [B, D] user embeddings, divided by the temperature.
        positives: [P, D] item embeddings of the positives.
        query_negatives: [P, H] logits of negatives of one positive each, -inf where there is none.
        positive_to_user: [P] ascending rows of users; None where positive p is of user p.
        power: of the link function; None: scores are logits.
        impressions: logits and weights of impressions without a click, [S] and [S]; None: none.
    """

    positive: Tensor
    weights: Tensor
    users: Tensor
    positives: Tensor
    shared: SharedNegatives
    query_negatives: Tensor | None = None
    positive_to_user: Tensor | None = None
    power: float | None = None
    impressions: tuple[Tensor, Tensor] | None = None

    @property
    def num_shares(self) -> int:
        """Above 1 if the negatives are a share of the negatives of the users; see `log_sums`."""
        return 1

    @property
    def largest_share(self) -> int:
        """The number of negatives, or of the largest share of them."""
        return len(self.shared.embeddings)

    def log_sums(self, values: Tensor) -> Tensor:
        """Return the log of sums [b] over all negatives, from those over these negatives."""
        return values

    def by_positive(self) -> "Logits":
        """Return the same logits with one row of users for each positive."""
        users, shared = self.positive_to_user, self.shared
        if users is None:
            return self
        prior = shared.prior and shared.prior._replace(moments=shared.prior.moments[users])
        masks = shared.false_negatives.select(users)
        return replace(
            self,
            users=self.users.index_select(0, users),
            shared=replace(shared, prior=prior, false_negatives=masks),
            positive_to_user=None,
        )

    def mean(
        self, loss: PairLoss, parameters: Iterable[Tensor] = (), block_elements: int = BLOCK_ELEMENTS
    ) -> Tensor:
        """Compute the weighted mean over the positives of a loss with parameters that need a gradient.

        Memory is bounded by a few blocks of `block_elements` logits: autograd differentiates one before the
        next one is computed. Under autocast only the matrix products run in its precision.
        """
        logits = self.by_positive()
        operands = logits.users, logits.shared.embeddings, logits.positive, logits.query_negatives
        total: Tensor = _Blockwise.apply(  # type: ignore[no-untyped-call]
            logits, loss, block_elements, *operands, *parameters
        )
        # The division is last: small weights would underflow in half precision.
        return total / relative(self.weights).sum()


def relative(weights: Tensor) -> Tensor:
    """Return weights over the largest one."""
    return weights / weights.max()


def product_dtype(users: Tensor) -> torch.dtype:
    """Return the type of matrix products: the autocast type, otherwise the type of the users."""
    device = users.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else users.dtype


def sum_dtype(users: Tensor) -> torch.dtype:
    """Return the type of sums: float64 for float64, otherwise float32."""
    return torch.float64 if users.dtype == torch.float64 else torch.float32


class ForwardGradients(torch.autograd.Function):
    """A scalar function whose `forward` saves the gradients of its last inputs, and their types."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the saved gradients."""
        (gradient,) = gradients
        scaled = [
            None if saved is None else (saved * gradient).to(dtype)
            for saved, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*[None] * (len(ctx.needs_input_grad) - len(scaled)), *scaled)


class _Blockwise(ForwardGradients):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Logits,
        loss: PairLoss,
        block_elements: int,
        users: Tensor,
        shared_embeddings: Tensor,
        positive_logits: Tensor,
        query_logits: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        differentiates = any(ctx.needs_input_grad)
        precision, accumulator = product_dtype(users), sum_dtype(users)
        shared, weights, size = logits.shared, relative(logits.weights), len(shared_embeddings)
        width, num_queries = padded(size), 0 if query_logits is None else query_logits.shape[1]
        block_rows = max(1, block_elements // (width + num_queries))
        multiplicity = functional.pad(shared.log_multiplicity.exp(), (0, num_queries), value=1.0)
        total = torch.zeros((), dtype=accumulator, device=users.device)
        d_users = torch.empty(users.shape, dtype=accumulator, device=users.device)
        d_negatives = torch.zeros(shared_embeddings.shape, dtype=accumulator, device=users.device)
        d_positive = torch.empty(positive_logits.shape, dtype=accumulator, device=users.device)
        d_query = None if query_logits is None else d_positive.new_empty(query_logits.shape)
        d_parameters = [torch.zeros_like(each) for each in parameters]
        with torch.autocast(users.device.type, enabled=False), torch.set_grad_enabled(differentiates):
            low_users, low_negatives = users.detach().to(precision), shared_embeddings.detach().to(precision)
            columns = functional.pad(low_negatives, (0, 0, 0, width - size)).T.contiguous()
            correction = functional.pad(shared.correction.to(accumulator), (0, width - size))
            for rows, masked in shared.false_negatives.blocks(len(users), width, block_rows):
                rows_users = low_users[rows]
                scores = torch.mm(rows_users, columns).to(accumulator).requires_grad_(differentiates)
                positive = _leaf(positive_logits[rows], accumulator, differentiates)
                inputs = [scores, positive]
                negatives = link(scores, logits.power) + correction
                negatives.view(-1).index_fill_(0, masked, -torch.inf)
                negatives = negatives[:, :size]
                if shared.prior is not None:
                    negatives = negatives + shared.prior.table.index_select(0, shared.prior.moments[rows])
                if query_logits is not None:
                    query = _leaf(query_logits[rows], accumulator, differentiates)
                    negatives = torch.cat([negatives, query], 1)
                    inputs.append(query)
                losses = loss(positive, negatives, multiplicity)
                if losses.shape != positive.shape:
                    given, expected = tuple(losses.shape), tuple(positive.shape)
                    raise InputError(
                        f"loss: forward returned the shape {given}, expected one loss for each example, "
                        f"{expected}: average over the negatives alone (dim=1), as mean_over_draws does"
                    )
                of_block = (losses * weights[rows]).sum()
                total += of_block.detach()
                if not differentiates:
                    continue
                gradients = torch.autograd.grad(
                    of_block, [*inputs, *parameters], allow_unused=True, materialize_grads=True
                )
                d_scores = gradients[0][:, :size].to(precision)
                d_users[rows] = d_scores @ low_negatives
                d_negatives += d_scores.T @ rows_users
                d_positive[rows] = gradients[1]
                if d_query is not None:
                    d_query[rows] = gradients[2]
                for gathered, each in zip(d_parameters, gradients[len(inputs) :], strict=True):
                    gathered += each
        ctx.save_for_backward(d_users, d_negatives, d_positive, d_query, *d_parameters)
        differentiated = users, shared_embeddings, positive_logits, query_logits, *parameters
        ctx.dtypes = [accumulator if each is None else each.dtype for each in differentiated]
        return total


def _leaf(values: Tensor, dtype: torch.dtype, differentiates: bool) -> Tensor:
    return values.detach().to(dtype).requires_grad_(differentiates)
