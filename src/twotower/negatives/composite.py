"""Candidates of a positive's own user, and beside them those of another source, which all share."""

from abc import ABC
from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.data.sources.source import Source
from twotower.negatives.negatives import Negatives
from twotower.negatives.sampler import ImpressionsAs, NegativeSampler


class CompositeSampler(NegativeSampler, ABC):
    """Own candidates of each positive beside another source, of which each counts as one draw more.

    Alone nothing is drawn, and nothing is to be corrected.

    Args:
        config: see `Config`.
        frequencies: see `NegativeSampler`.
    """

    class Config(NegativeSampler.Config):
        """What is beside them."""

        shared: NegativeSampler.Config | None = None
        """Another source, as in `{_target_: twotower.negatives.uniform.Uniform}`; null for none."""

        @property
        def provides(self) -> frozenset[str]:
            """What the source beside it provides; alone `log_q`, since nothing is left to chance."""
            return super().provides if self.shared is None else self.shared.provides

        def num_draws(self, num_positives: int) -> int | None:
            """Return those of the source beside."""
            return None if self.shared is None else self.shared.num_draws(num_positives)

        def problems(
            self,
            data: Source.Config | None = None,
            num_items: int | None = None,
            impressions_as: ImpressionsAs | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse a source beside that gives own candidates too."""
            if self.shared is not None and (self.shared.max_impressions() or self.shared.refreshed_every()):
                yield "shared", "already gives candidates of one user alone; name another source, or null"

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.shared = None if config.shared is None else config.shared.build(frequencies)

    def observe(self, positives: Tensor) -> None:
        """Show the positives to the source beside."""
        if self.shared is not None:
            self.shared.observe(positives)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the source beside draws; alone nothing."""
        if self.shared is None:
            return positives[:0], positives[:0]
        return self.shared.draw(positives, generator)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return log q of the source beside; alone zeros: what is one user's own is certain to be there."""
        if self.shared is None:
            return torch.zeros(len(rows), device=rows.device)
        return self.shared.log_q(rows, num_positives)

    def remember(self, rows: Tensor, embeddings: Tensor) -> None:
        """Pass the embeddings to the shared sampler."""
        if self.shared is not None:
            self.shared.remember(rows, embeddings)

    def forward(
        self, positives: Tensor, generator: torch.Generator, query_rows: Tensor | None = None
    ) -> Negatives:
        """Return the shared sampler's negatives with the query negatives; see `NegativeSampler`."""
        if self.shared is None:
            return super().forward(positives, generator, query_rows)
        negatives: Negatives = self.shared(positives, generator, query_rows)
        return negatives
