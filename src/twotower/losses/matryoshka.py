"""Any loss, of the whole embeddings and of their first halves, quarters, ...: they can be cut short."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from twotower.config.facts import Facts
from twotower.losses.loss import Loss, ShownAs
from twotower.losses.temperature import Temperature
from twotower.negatives.candidates import Candidates


class Matryoshka(Loss):
    """L = sum over D, D / 2, D / 4, ... of another loss of so many first columns.

    Where the other loss needs unit vectors, columns that were cut are made unit vectors again, as they have
    to be before they are indexed.

    Needs: no item bias, whose column is the last; what the other loss needs.
    When to prefer: where one training is to serve indexes of several sizes; the whole embedding loses little.
    Reference: Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022, section 3.
    """

    class Config(Loss.Config):
        """Which loss, and how often the embeddings are halved."""

        inner: Loss.Config
        """The loss, as in `{_target_: twotower.losses.bpr.Bpr}`."""
        num_halvings: Annotated[int, Ge(1), Le(11)] = 2
        """2: of the whole, half and a quarter of the columns."""

        @property
        def needs(self) -> frozenset[str]:
            """That there is no column of a bias; the other loss is asked itself."""
            return frozenset({"no_item_bias"})

        @property
        def shown(self) -> ShownAs | None:
            """As the other loss does."""
            return self.inner.shown

        @property
        def ranks(self) -> bool:
            """As the other loss does."""
            return self.inner.ranks

        def widths(self, dim: int) -> list[int]:
            """Return how many first columns of `dim` each loss is of, the whole first."""
            return [dim >> halvings for halvings in range(self.num_halvings + 1)]

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Refuse more halvings than there are columns for."""
            yield from super().problems(facts)
            dim = facts.embedding_dim
            if dim is not None and dim >> self.num_halvings < 1:
                yield "num_halvings", f"leaves nothing of embedding_dim = {dim}; set it lower"

    config: Config

    def __init__(self, config: Config, num_items: int = 1) -> None:
        super().__init__(config, num_items)
        self.inner = config.inner.build(num_items)

    @property
    def temperature(self) -> Temperature | None:
        """The other loss's, if it has one."""
        return getattr(self.inner, "temperature", None)

    def mean_loss(
        self,
        users: Tensor,
        positives: Tensor,
        items: Tensor,
        candidates: Candidates,
        weights: Tensor,
        own: Tensor | None = None,
    ) -> Tensor:
        """Compute the sum of the weighted means; see `Loss.mean_loss`."""
        total = users.new_zeros((), dtype=weights.dtype)
        for width in self.config.widths(users.shape[-1]):
            total = total + self.inner.mean_loss(
                self.cut(users, width),
                self.cut(positives, width),
                self.cut(items, width),
                candidates,
                weights,
                None if own is None else self.cut(own, width),
            )
        return total

    def of_shown(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the sum of the losses of each shown negative, [S]; see `Loss.of_shown`."""
        widths = self.config.widths(users.shape[-1])
        losses = [self.inner.of_shown(self.cut(users, width), self.cut(items, width)) for width in widths]
        return sum(losses[1:], losses[0])

    def cuts(self, dim: int) -> list[Callable[[Tensor], Tensor]]:
        """Return `cut` to each width below the whole; see `Loss.cuts`."""
        return [partial(self.cut, width=width) for width in self.config.widths(dim)[1:]]

    def cut(self, embeddings: Tensor, width: int) -> Tensor:
        """Return the first columns of embeddings [..., D], of length 1 where the loss needs that."""
        if width == embeddings.shape[-1]:
            return embeddings
        first = embeddings[..., :width]
        return F.normalize(first, dim=-1) if "unit_vectors" in self.config.inner.needs else first
