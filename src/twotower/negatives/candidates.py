"""What a batch's positives are ranked against."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Distinct items, how they came to be there, and which of them are no negatives for whom.

    Attributes:
        rows: [C] int64 item rows, each once, ascending.
        log_count: [C] log of how often each was drawn; a candidate stands for all its draws.
        log_q: [C] log of the probability of one draw giving the item.
        positive_log_q: [P] the same of each positive.
        masked_positives: [M] int64 ascending positions in the batch; with
        masked_candidates: [M] int64 positions in `rows`: the item is the positive itself or another known
            item of that user, so never a negative.
        own_rows: [P, O] int64 item rows that are candidates of one positive alone, 0 = none; with
        own_log_q: [P, O] their log q. Both None where nobody has any.
    """

    rows: Tensor
    log_count: Tensor
    log_q: Tensor
    positive_log_q: Tensor
    masked_positives: Tensor
    masked_candidates: Tensor
    own_rows: Tensor | None = None
    own_log_q: Tensor | None = None


def known_pairs(
    rows: Tensor, num_items: int, known_positives: Tensor, known_items: Tensor
) -> tuple[Tensor, Tensor]:
    """Find which known items of which positive are among the candidates.

    Args:
        rows: [C] distinct candidate rows.
        num_items: rows run from 0 to this.
        known_positives: [K] ascending positions in the batch.
        known_items: [K] item rows that user is known to have.

    Returns:
        positions in the batch [M], ascending, and positions in `rows` [M].
    """
    column = torch.full((num_items + 1,), -1, dtype=torch.int64, device=rows.device)
    column[rows] = torch.arange(len(rows), device=rows.device)
    columns = column[known_items]
    among = columns >= 0
    if bool(among.all()):  # a candidate list that holds every item of the log
        return known_positives, columns
    return known_positives[among], columns[among]
