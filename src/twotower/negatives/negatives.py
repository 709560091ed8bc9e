"""What a batch's positives are ranked against."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from twotower.towers.item_bias.item_bias import Prior


@dataclass(frozen=True)
class Candidates:
    """Distinct items, how they came to be there, and which of them are no negatives for whom.

    Attributes:
        rows: [C] item rows, each once, ascending.
        log_count: [C] log of how often each was drawn; a candidate stands for all its draws.
        log_q: [C] log of the probability of one draw giving the item.
        positive_log_q: [P] the same of each positive.
        masked_positives: [M] ascending positions in the batch; with
        masked_candidates: [M] int32 positions in `rows`: the item is the positive itself or another known
            item of that user, so never a negative; -1 where it is no candidate.
        own_rows: [P, O] item rows that are candidates of one positive alone, 0 = none; with
        own_log_q: [P, O] their log q. Both None where nobody has any.
        num_draws: how often was drawn with q; None where nothing was: each item is here for certain.
        owners: [P] ascending: each positive's row among the users, to which `masked_positives` and the
            prior's moments refer; None where every positive has a user of its own.
        prior: what is added to the logits of candidates,
        positive_prior: [P] to those of positives, and
        own_prior: [P, O] to those of own candidates, behind the temperature. All None where nothing is.
    """

    rows: Tensor
    log_count: Tensor
    log_q: Tensor
    positive_log_q: Tensor
    masked_positives: Tensor
    masked_candidates: Tensor
    own_rows: Tensor | None = None
    own_log_q: Tensor | None = None
    num_draws: int | None = None
    owners: Tensor | None = None
    prior: Prior | None = None
    positive_prior: Tensor | None = None
    own_prior: Tensor | None = None

    def by_positive(self) -> "Candidates":
        """Return the same with a row for each positive's user, where several positives are of one."""
        if self.owners is None:
            return self
        owners = self.owners
        bounds = torch.arange(int(owners[-1]) + 2, device=owners.device, dtype=self.masked_positives.dtype)
        edges = torch.searchsorted(self.masked_positives, bounds)
        counts = (edges[1:] - edges[:-1])[owners]
        positives = torch.repeat_interleave(counts)
        first = edges[:-1][owners] - (counts.cumsum(0) - counts)
        pairs = first[positives] + torch.arange(len(positives), device=owners.device)
        return replace(
            self,
            masked_positives=positives.to(self.masked_positives.dtype),
            masked_candidates=self.masked_candidates[pairs],
            owners=None,
            prior=self.prior and self.prior._replace(moments=self.prior.moments[owners]),
        )

    @classmethod
    def none(cls, positives: Tensor) -> "Candidates":
        """Return no candidates of a batch with these positives [P], for losses that rank against none."""
        nothing, certain = positives[:0], torch.zeros(len(positives), device=positives.device)
        return cls(nothing, certain[:0], certain[:0], certain, nothing, nothing)


class Places(nn.Module):
    """Finds rows in a list of distinct ones by one look-up each, whatever the catalogue's size.

    Args:
        num_items: rows run from 0 to this.
    """

    places: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        # Kept, all -1 between two uses: to fill one anew takes longer than a step where items are millions.
        self.register_buffer("places", torch.full((num_items + 1,), -1, dtype=torch.int32), persistent=False)

    def among(self, rows: Tensor, *wanted: Tensor) -> list[Tensor]:
        """Return the place of each wanted row among distinct rows [C], int32; -1 where it is not there."""
        rows = rows.long()  # of a batch they are int32, which writing by index does not take
        self.places.index_copy_(0, rows, torch.arange(len(rows), dtype=torch.int32, device=rows.device))
        found = [self.places.index_select(0, each.flatten()).view(each.shape) for each in wanted]
        self.places.index_fill_(0, rows, -1)
        return found
