"""What every source of negatives is given and what it returns."""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor, nn

from twotower.config.component import Component
from twotower.config.spec import PositiveInt
from twotower.negatives.candidates import Candidates, Places

Draws = Annotated[PositiveInt, Le(1_000_000)]
"""Of a batch."""


class Negatives(Component, nn.Module, ABC):
    """Draws the candidates of a batch and states the probability q of one draw.

    Args:
        config: the choice.
        frequencies: [N + 1] probability with which each item row is a positive of an example; row 0 has 0. An
            item that never is one is never a candidate: it would only be pushed down, and with it every new
            item, since they share the unknown id.
    """

    class Config(Component.Config):
        """Settings of every source of negatives."""

        @property
        def provides(self) -> frozenset[str]:
            """What a loss may need of these candidates (`Loss.Config.needs`)."""
            return frozenset({"log_q"})

        def num_draws(self, num_positives: int) -> int | None:
            """Return how often is drawn for a batch of `num_positives`; None: nothing is left to chance."""
            return None

        def most_shown(self) -> int:
            """Return O, how many of its own user's shown negatives a positive is ranked against at most.

            0, the default: training looks at no shown negative.
            """
            return 0

        def refreshed_every(self) -> int:
            """Return after how many epochs `take` is told anew what the towers rank first; 0: never."""
            return 0

        def num_ranked(self) -> int:
            """Return how many of each user's first ranks `take` is told."""
            return 0

        def build(self, frequencies: Tensor) -> "Negatives":
            """Build the source."""
            return self.make(Negatives, frequencies)

    config: Config
    frequencies: Tensor
    trained_rows: Tensor

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.register_buffer("trained_rows", frequencies.nonzero().flatten(), persistent=False)
        self.places = Places(len(frequencies) - 1)

    @property
    def num_items(self) -> int:
        """Items of the catalogue; rows run from 1 to this."""
        return len(self.frequencies) - 1

    @abstractmethod
    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return distinct item rows [C], ascending, and how often each was drawn [C]."""

    @abstractmethod
    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log probability of one draw giving each row [R], in a batch of `num_positives`."""

    def own_rows(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        """Return item rows [P, O] for each positive's user [P] that only this positive is ranked against.

        0 = none; None, the default: nobody has any.
        """
        return None

    def take(self, num_users: int, users: Tensor, ranked: Tensor, scores: Tensor, own: Tensor) -> None:
        """Be told what the towers rank first; asked where `Config.refreshed_every` says so."""
        raise NotImplementedError

    def observe(self, positives: Tensor) -> None:
        """See the positives of a training batch, before its candidates are drawn (streaming estimates)."""

    def forward(
        self,
        positives: Tensor,
        known_positives: Tensor,
        known_items: Tensor,
        generator: torch.Generator,
        own_rows: Tensor | None = None,
    ) -> Candidates:
        """Draw the candidates of a batch.

        Args:
            positives: [P] item rows.
            known_positives: [K] ascending positions in the batch.
            known_items: [K] rows of items its user is known to have (the positive among them).
            generator: on the CPU; its state decides the draw.
            own_rows: [P, O] items that only this positive is ranked against, as if drawn once more; 0 = none.
        """
        rows, count = self.draw(positives, generator)
        num_draws = self.config.num_draws(len(positives))
        (places,) = self.places.among(rows, known_items)
        return Candidates(
            rows,
            count.to(torch.float32).log(),
            self.log_q(rows, len(positives)),
            self.log_q(positives, len(positives)),
            known_positives,
            places,
            own_rows,
            None if own_rows is None else self._log_q_of_own(own_rows),
            num_draws,
        )

    def _log_q_of_own(self, rows: Tensor) -> Tensor:
        """Return log q of own candidates; one that is never a positive has that of the rarest that is."""
        rarest = self.log_q(self.trained_rows, len(rows)).min()
        return self.log_q(rows.flatten(), len(rows)).clamp(min=rarest).view(rows.shape)


def distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows, ascending, and how often each occurs."""
    found, count = rows.unique(return_counts=True)
    return found, count


def draw_evenly(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw from rows with replacement; the generator is on the CPU, the result where the rows are."""
    return rows[torch.randint(len(rows), (count,), generator=generator).to(rows.device)]
