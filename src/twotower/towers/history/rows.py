"""Which items a batch's histories hold, each looked up or embedded once.

Shapes: B histories of L positions, C items asked for besides, R distinct items, N items, H width.
"""

import torch
from torch import Tensor, nn


def distinct_rows(rows: Tensor, more: Tensor, num_items: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return distinct item rows [R], and where among them, counted from 1, those asked for are.

    Args:
        rows: [B, L] of histories, 0 = none, which is at 0.
        more: [C], from 1.
        num_items: N.
    """
    if num_items <= rows.numel():  # to take all is cheaper than to look for the distinct ones
        return torch.arange(1, num_items + 1, device=rows.device), rows, more
    distinct, inverse = torch.cat([rows.flatten(), more]).unique(return_inverse=True)
    first, places = (inverse + 1).split([rows.numel(), len(more)])
    return distinct, torch.where(rows > 0, first.view(rows.shape), 0), places


def sparse_rows(table: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the table's rows [R, H] that are asked for, and where [B, L] are among them.

    Each is looked up once and in order, which saves the optimizer from finding out, and its gradient is
    sparse; row 0, which is zeros and stays so, is always among them.
    """
    distinct, places = torch.cat([rows.new_zeros(1), rows.flatten()]).unique(return_inverse=True)
    return nn.functional.embedding(distinct, table, sparse=True), places[1:].view(rows.shape)
