"""Losses over [positives, candidates] logits, a block of rows at a time, each differentiated by autograd.

Shapes: P positives, C candidates, O own candidates of a positive, D embedding, M masked pairs, b rows of a
block.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from twotower.losses.kernels.masks import Masks, padded
from twotower.losses.kernels.powers import linked
from twotower.towers.item_bias.item_bias import Prior

PairLoss = Callable[[Tensor, Tensor], Tensor]
"""(positive logits [b], logits of negatives [b, C + O], -inf where masked) -> loss [b], differentiable."""

BLOCK_ELEMENTS = 1 << 20  # 4 MiB of float32 logits: stays in cache on a CPU


def precision_of(users: Tensor) -> torch.dtype:
    """Return what the products run in: autocast's choice, or else what the users are in."""
    device = users.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else users.dtype


def accumulator_of(users: Tensor) -> torch.dtype:
    """Return what sums are taken in: float64 stays (gradcheck), anything lower is float32."""
    return torch.float64 if users.dtype == torch.float64 else torch.float32


def blockwise_loss(
    loss: PairLoss,
    users: Tensor,
    candidates: Tensor,
    positive_logits: Tensor,
    bias: Tensor,
    masked_positives: Tensor,
    masked_candidates: Tensor,
    weights: Tensor,
    own_logits: Tensor | None = None,
    prior: Prior | None = None,
    power: float | None = None,
    block_elements: int = BLOCK_ELEMENTS,
    parameters: Iterable[Tensor] = (),
) -> Tensor:
    """Compute the weighted mean over positives of a loss on `users @ candidates.T + bias`.

    Peak memory is a few blocks of logits: autograd differentiates one block before the next one is built.
    Under autocast the matrix products run in its precision, everything else in float32.

    Args:
        loss: of the rows of a block.
        users: [P, D] user embeddings, already divided by the temperature.
        candidates: [C, D] item embeddings.
        positive_logits: [P] the logit of each user's positive.
        bias: [C] added to every logit of a candidate; carries no gradient.
        masked_positives: [M] ascending; with `masked_candidates` the pairs that are no negatives.
        masked_candidates: [M] columns; -1 where the item is none of the candidates.
        weights: [P] weight of each positive; only their ratios matter.
        own_logits: [P, O] of candidates that are one positive's alone, -inf where there is none: columns
            behind the C.
        prior: added to the logits of candidates; carries no gradient.
        power: links the products to logits by `powers.linked`; None: they are logits.
        block_elements: logits held at once.
        parameters: other tensors that `loss` reads and that need a gradient.
    """
    # At most 1 here and the mean taken outside: shares of a batch would vanish in half precision.
    relative = weights / weights.max()
    num_columns = padded(len(candidates)) + (0 if own_logits is None else own_logits.shape[1])
    total: Tensor = _Blockwise.apply(  # type: ignore[no-untyped-call]
        users,
        candidates,
        positive_logits,
        own_logits,
        bias,
        masked_positives,
        masked_candidates,
        relative,
        prior,
        loss,
        max(1, block_elements // max(1, num_columns)),
        precision_of(users),
        power,
        *parameters,
    )
    return total / relative.sum()


class GradientsMadeForward(torch.autograd.Function):
    """A loss whose gradients `forward` saved, of the arguments at `ctx.places`; the others have none."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what was saved."""
        (gradient,) = gradients
        scaled: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        for place, saved, dtype in zip(ctx.places, ctx.saved_tensors, ctx.dtypes, strict=True):
            scaled[place] = None if saved is None else (saved * gradient).to(dtype)
        return tuple(scaled)


class _Blockwise(GradientsMadeForward):
    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        candidates: Tensor,
        positive_logits: Tensor,
        own_logits: Tensor | None,
        bias: Tensor,
        masked_positives: Tensor,
        masked_candidates: Tensor,
        weights: Tensor,
        prior: Prior | None,
        loss: PairLoss,
        block_rows: int,
        precision: torch.dtype,
        power: float | None,
        *parameters: Tensor,
    ) -> Tensor:
        differentiates = any(ctx.needs_input_grad)
        accumulator, size = accumulator_of(users), len(candidates)
        total = torch.zeros((), dtype=accumulator, device=users.device)
        d_users = torch.empty(users.shape, dtype=accumulator, device=users.device)
        d_candidates = torch.zeros(candidates.shape, dtype=accumulator, device=users.device)
        d_positive = torch.empty(positive_logits.shape, dtype=accumulator, device=users.device)
        d_own = None if own_logits is None else d_positive.new_empty(own_logits.shape)
        d_parameters = [torch.zeros_like(each) for each in parameters]
        width = padded(size)
        masks = Masks(masked_positives, masked_candidates, len(users), width, block_rows)
        with torch.autocast(users.device.type, enabled=False), torch.set_grad_enabled(differentiates):
            low_users, low_candidates = users.detach().to(precision), candidates.detach().to(precision)
            columns = functional.pad(low_candidates, (0, 0, 0, width - size)).T.contiguous()
            padded_bias = functional.pad(bias.to(accumulator), (0, width - size))
            for rows, masked in masks.blocks():
                products = torch.mm(low_users[rows], columns).to(accumulator).requires_grad_(differentiates)
                positive = _leaf(positive_logits[rows], accumulator, differentiates)
                own = None if own_logits is None else _leaf(own_logits[rows], accumulator, differentiates)
                negatives = linked(products, power) + padded_bias
                negatives.view(-1).index_fill_(0, masked, -torch.inf)
                negatives = negatives[:, :size]
                if prior is not None:
                    negatives = negatives + prior.lifts.index_select(0, prior.moments[rows])
                if own is not None:
                    negatives = torch.cat([negatives, own], 1)
                of_block = (loss(positive, negatives) * weights[rows]).sum()
                total += of_block.detach()
                if not differentiates:
                    continue
                inputs = [products, positive, *([] if own is None else [own]), *parameters]
                found = torch.autograd.grad(of_block, inputs, allow_unused=True, materialize_grads=True)
                d_products = found[0][:, :size].to(precision)
                d_users[rows] = d_products @ low_candidates
                d_candidates += d_products.T @ low_users[rows]
                d_positive[rows] = found[1]
                if d_own is not None:
                    d_own[rows] = found[2]
                for gathered, each in zip(d_parameters, found[len(found) - len(parameters) :], strict=True):
                    gathered += each
        ctx.save_for_backward(d_users, d_candidates, d_positive, d_own, *d_parameters)
        ctx.places = (0, 1, 2, 3, *range(13, 13 + len(parameters)))
        ctx.dtypes = [
            *(each.dtype for each in (users, candidates, positive_logits)),
            accumulator if own_logits is None else own_logits.dtype,
            *(each.dtype for each in parameters),
        ]
        return total


def _leaf(values: Tensor, dtype: torch.dtype, differentiates: bool) -> Tensor:
    return values.detach().to(dtype).requires_grad_(differentiates)
