"""Query negatives of each positive, next to the negatives of another sampler that all positives share."""

from abc import ABC
from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.model.negatives.sampler import Negatives, NegativeSampler


class CompositeSampler(NegativeSampler, ABC):
    """Query negatives of each positive, next to the negatives of a shared sampler.

    Each query negative counts as one more draw of the shared sampler. Without one, no item is drawn and no
    log-q correction applies.
    """

    class Config(NegativeSampler.Config):
        shared: NegativeSampler.Config | None = None
        """Another sampler, as in `{_target_: twotower.model.negatives.uniform.Uniform}`; null for none."""

        @property
        def provides(self) -> frozenset[str]:
            """What the shared sampler provides; without one `log_q`, since nothing is random."""
            return super().provides if self.shared is None else self.shared.provides

        def num_draws(self, num_positives: int) -> int | None:
            """Return the draws of the shared sampler, 0 without one."""
            return 0 if self.shared is None else self.shared.num_draws(num_positives)

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse a shared sampler that has query negatives too."""
            if self.shared is not None and (self.shared.max_impressions() or self.shared.refreshed_every()):
                yield "shared", "already gives query negatives; name another sampler, or null"

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.shared = None if config.shared is None else config.shared.build(frequencies)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw from the shared sampler; without one return no rows."""
        if self.shared is None:
            return positives[:0], positives[:0]
        return self.shared.draw(positives, generator)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return log q of the shared sampler; without one zeros: query negatives are not random."""
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
