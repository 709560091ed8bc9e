"""Distinct item rows of the histories in a batch, so that each item is embedded once.

Shapes: B histories of L positions, C further items, R distinct items, N items, H width.
"""

import torch
from torch import Tensor, nn


def distinct_rows(rows: Tensor, more: Tensor, num_items: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return distinct item rows [R], and the positions of `rows` and `more` among them, from 1.

    Args:
        rows: [B, L] of histories, 0 = padding, whose position is 0.
        more: [C] further item rows, from 1.
        num_items: N.
    """
    if num_items <= rows.numel():  # cheaper than `unique`
        return torch.arange(1, num_items + 1, device=rows.device), rows, more
    distinct, inverse = torch.cat([rows.flatten(), more]).unique(return_inverse=True)
    first, positions = (inverse + 1).split([rows.numel(), len(more)])
    return distinct, torch.where(rows > 0, first.view(rows.shape), 0), positions


def sparse_rows(table: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct embeddings [R, H] of rows [B, L] with a sparse gradient, and the positions [B, L].

    The gradient has each row once and in order. Position 0 is row 0, which is zero.
    """
    distinct, positions = torch.cat([rows.new_zeros(1), rows.flatten()]).unique(return_inverse=True)
    return nn.functional.embedding(distinct, table, sparse=True), positions[1:].view(rows.shape)
