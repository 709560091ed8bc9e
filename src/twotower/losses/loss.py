"""What every loss is given and what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from twotower.config.component import Component
from twotower.config.facts import Facts
from twotower.negatives.candidates import Candidates

ShownAs = Literal["examples", "candidates"]
"""How a loss learns from what a user was shown and did not take: as examples of their own with the label 0,
or as further candidates of that user's positives."""


class Loss(Component, nn.Module, ABC):
    """A scalar from a batch of users, their positives and the candidates they are ranked against.

    Subclasses are written in the order: temperature, log-q correction, masks, formula.

    A loss is finite, and its gradients too, whatever the scores; only the ratios of `weights` count; a higher
    score of the positive never raises it, a higher score of a negative never lowers it, and one as hard as
    can be raises it; masked candidates do not count. It may have no slope beyond a margin, be negative, and
    have no temperature.

    Args:
        config: the choice.
        num_items: items that can be negatives.
    """

    class Config(Component.Config):
        """Settings of every loss."""

        @property
        def needs(self) -> frozenset[str]:
            """What it must be given, checked before any data is read.

            Of the negatives `log_q` (see `Negatives.Config.provides`). Of the towers `unit_vectors`: what
            both put out has length 1; and `no_item_bias`: no column of a bias is joined to it. A loss of
            cosines needs both.
            """
            return frozenset()

        @property
        def shown(self) -> ShownAs | None:
            """How it learns from shown negatives; None: it cannot, and `negatives=shown` is refused."""
            return None

        @property
        def ranks(self) -> bool:
            """Whether it compares positives with candidates; where it does not, none are drawn."""
            return True

        @property
        def takes_prior(self) -> bool:
            """Whether it adds `Candidates.prior` to its scores, or is never given one."""
            return "no_item_bias" in self.needs

        @property
        def has_fixed_temperature(self) -> bool:
            """Whether what scores are divided by is known from the start: a prior is served times that."""
            return True

        @property
        def score_power(self) -> float | None:
            """To which power a score is an item's odds (`kernels.powers`); None: odds are its exponential.

            A prior of odds then belongs into the embeddings as a factor, not as an addend.
            """
            return None

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Refuse negatives and towers that do not provide what is needed."""
            if facts.provided is None or facts.remedies is None:
                return
            name, lacking = self.owner.__name__, self.needs - facts.provided
            for need, remedy in facts.remedies.items():
                if need in lacking:
                    yield "", f"{name} needs {need}, which the towers as set do not provide; {remedy}"
            if others := lacking - facts.remedies.keys():
                text = f"{name} needs {', '.join(sorted(others))}, which {facts.negatives} as set does not "
                yield "", f"{text}provide; choose other negatives, or switch the correction off in the loss"

        def build(self, num_items: int = 1) -> "Loss":
            """Build the loss for negatives out of `num_items` items."""
            return self.make(Loss, num_items)

    config: Config
    shares_users: ClassVar[bool] = False
    """Whether `mean_loss` takes several positives of one row of users, as `Candidates.owners` says; one that
    does not is given each positive's user."""

    def __init__(self, config: Config, num_items: int = 1) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items

    def of_batch(
        self,
        users: Tensor,
        positives: Tensor,
        items: Tensor,
        candidates: Candidates,
        weights: Tensor,
        shown: Tensor,
        own: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted mean over positives (`mean_loss`) and labelled examples (`of_shown`).

        Args:
            users: [P + S, D] of the positives, then of the shown negatives.
            positives: see `mean_loss`.
            items: see `mean_loss`.
            candidates: see `mean_loss`.
            weights: [P + S].
            shown: [S, D] embeddings of shown negatives; none unless `Config.shown` is `examples`.
            own: see `mean_loss`.
        """
        # Own candidates are of one positive; in half precision the kernel that shares users has no room for
        # its exponentials.
        shares = self.shares_users and own is None and users.dtype != torch.float16
        if candidates.owners is not None and not shares:
            users, candidates = users.index_select(0, candidates.owners), candidates.by_positive()
        size = len(positives)
        of_own = () if own is None else (own,)
        if not len(shown):
            return self.mean_loss(users, positives, items, candidates, weights, *of_own)
        total = (self.of_shown(users[size:], shown) * weights[size:]).sum()
        if size:
            mean = self.mean_loss(users[:size], positives, items, candidates, weights[:size], *of_own)
            total = total + mean * weights[:size].sum()
        return total / weights.sum()

    def cuts(self, dim: int) -> list[Callable[[Tensor], Tensor]]:
        """Return what makes shorter embeddings of those of `dim` columns that it trains, [B, D] -> [B, d]."""
        return []

    def scaled(self, users: Tensor) -> Tensor:
        """Return users [P, D] whose products with items are logits; as given where scores are plain."""
        return users

    def of_shown(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the loss of each shown negative [S], from users and items [S, D].

        Asked where `Config.shown` is `examples`.
        """
        raise NotImplementedError

    @abstractmethod
    def mean_loss(
        self,
        users: Tensor,
        positives: Tensor,
        items: Tensor,
        candidates: Candidates,
        weights: Tensor,
        own: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted mean loss of the positives.

        Args:
            users: [P, D] user embeddings.
            positives: [P, D] embedding of each user's positive item.
            items: [C, D] embeddings of the candidates.
            candidates: their rows, probabilities and the pairs that are no negatives.
            weights: [P] weight of each example.
            own: [P, O, D] embeddings of each positive's own candidates, whose rows are `candidates.own_rows`;
                None unless `Config.shown` is `candidates`.
        """
