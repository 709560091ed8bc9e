"""Losses over [positives, candidates] logits, a block of rows at a time, gradients made in the same pass.

Shapes: P positives, C candidates, O own candidates of a positive, D embedding, M masked pairs, b rows of a
block.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from twotower.losses.kernels import powers
from twotower.losses.kernels.masks import Masks, padded
from twotower.towers.item_bias.item_bias import Prior

BlockFormula = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(logits [b, C + O], which it may overwrite; positive logits [b]) ->
(loss [b], d loss / d logits [b, C + O], d loss / d positive logits [b])."""

BLOCK_ELEMENTS = 1 << 20  # 4 MiB of float32 logits: stays in cache on a CPU


def precision_of(users: Tensor) -> torch.dtype:
    """Return what the products run in: autocast's choice, or else what the users are in."""
    device = users.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else users.dtype


def accumulator_of(users: Tensor) -> torch.dtype:
    """Return what sums are taken in: float64 stays (gradcheck), anything lower is float32."""
    return torch.float64 if users.dtype == torch.float64 else torch.float32


def blockwise_loss(
    formula: BlockFormula,
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
) -> Tensor:
    """Compute the weighted mean over positives of a loss on `users @ candidates.T + bias`.

    Peak memory is one block of logits: the gradient of a block is taken before the next one is built.
    Under autocast the matrix products run in its precision, everything else in float32.

    Args:
        formula: the loss of a block and its gradients.
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
    """
    # At most 1 here and the mean taken outside: shares of a batch would vanish in half precision.
    relative = weights / weights.max()
    num_columns = padded(len(candidates)) + (0 if own_logits is None else own_logits.shape[1])
    loss: Tensor = _Blockwise.apply(  # type: ignore[no-untyped-call]
        users,
        candidates,
        positive_logits,
        own_logits,
        bias,
        masked_positives,
        masked_candidates,
        relative,
        prior,
        formula,
        max(1, block_elements // max(1, num_columns)),
        precision_of(users),
        power,
    )
    return loss / relative.sum()


class GradientsMadeForward(torch.autograd.Function):
    """A loss whose gradients were saved by `forward`: of the first four arguments, and none of the others."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what was saved."""
        (gradient,) = gradients
        scaled = (
            None if saved is None else (saved * gradient).to(dtype)
            for saved, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (*scaled, *(None,) * (ctx.num_arguments - len(ctx.dtypes)))


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
        formula: BlockFormula,
        block_rows: int,
        precision: torch.dtype,
        power: float | None,
    ) -> Tensor:
        needs_gradient = any(ctx.needs_input_grad[:4])
        accumulator, size = accumulator_of(users), len(candidates)
        total = torch.zeros((), dtype=accumulator, device=users.device)
        d_users = torch.empty(users.shape, dtype=accumulator, device=users.device)
        d_candidates = torch.zeros(candidates.shape, dtype=accumulator, device=users.device)
        d_positive = torch.empty(positive_logits.shape, dtype=accumulator, device=users.device)
        d_own = None if own_logits is None else d_positive.new_empty(own_logits.shape)
        width = padded(size)
        masks = Masks(masked_positives, masked_candidates, len(users), width, block_rows)
        with torch.autocast(users.device.type, enabled=False):
            low_users, low_candidates = users.to(precision), candidates.to(precision)
            columns = torch.nn.functional.pad(low_candidates, (0, 0, 0, width - size)).T.contiguous()
            padded_bias = torch.nn.functional.pad(bias.to(accumulator), (0, width - size))
            for rows, struck in masks.blocks():
                logits = torch.mm(low_users[rows], columns).to(accumulator)
                slopes = None if power is None else powers.radii(1 + logits[:, :size] / power)
                logits = powers.linked(logits, power).add_(padded_bias)
                logits.view(-1).index_fill_(0, struck, -torch.inf)
                logits = logits[:, :size]
                if prior is not None:
                    logits = logits + prior.lifts.index_select(0, prior.moments[rows])
                if own_logits is not None:
                    logits = torch.cat([logits, own_logits[rows].to(accumulator)], 1)
                loss, d_logits, d_block = formula(logits, positive_logits[rows].to(accumulator))
                total += (loss * weights[rows]).sum()
                if not needs_gradient:
                    continue
                d_logits *= weights[rows, None]
                if d_own is not None:
                    d_logits, d_own[rows] = d_logits.split([size, d_own.shape[1]], 1)
                if slopes is not None:
                    d_logits = d_logits / slopes
                low_gradient = d_logits.to(precision)
                d_users[rows] = low_gradient @ low_candidates
                d_candidates += low_gradient.T @ low_users[rows]
                d_positive[rows] = d_block * weights[rows]
        ctx.save_for_backward(d_users, d_candidates, d_positive, d_own)
        ctx.num_arguments = 13
        ctx.dtypes = (
            *(tensor.dtype for tensor in (users, candidates, positive_logits)),
            accumulator if own_logits is None else own_logits.dtype,
        )
        return total
