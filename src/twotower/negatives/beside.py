"""Candidates of a positive's own user, and beside them those of another source, which all share."""

from abc import ABC
from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.config.facts import Facts
from twotower.negatives.negatives import Negatives


class Beside(Negatives, ABC):
    """Own candidates of each positive beside another source, of which each counts as one draw more.

    Alone nothing is drawn, and nothing is to be corrected.

    Args:
        config: see `Config`.
        frequencies: see `Negatives`.
    """

    class Config(Negatives.Config):
        """What is beside them."""

        beside: Negatives.Config | None = None
        """Another source, as in `{_target_: twotower.negatives.uniform.Uniform}`; null for none."""

        @property
        def provides(self) -> frozenset[str]:
            """What the source beside it provides; alone `log_q`, since nothing is left to chance."""
            return super().provides if self.beside is None else self.beside.provides

        def num_draws(self, num_positives: int) -> int | None:
            """Return those of the source beside."""
            return None if self.beside is None else self.beside.num_draws(num_positives)

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Refuse a source beside that gives own candidates too."""
            if self.beside is not None and (self.beside.most_shown() or self.beside.refreshed_every()):
                yield "beside", "already gives candidates of one user alone; name another source, or null"

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.beside = None if config.beside is None else config.beside.build(frequencies)

    def observe(self, positives: Tensor) -> None:
        """Show the positives to the source beside."""
        if self.beside is not None:
            self.beside.observe(positives)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the source beside draws; alone nothing."""
        if self.beside is None:
            return positives[:0], positives[:0]
        return self.beside.draw(positives, generator)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return log q of the source beside; alone zeros: what is one user's own is certain to be there."""
        if self.beside is None:
            return torch.zeros(len(rows), device=rows.device)
        return self.beside.log_q(rows, num_positives)
