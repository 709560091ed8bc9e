"""Negatives of several samplers together."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import MinLen
from pydantic import Field
from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.model.negatives.in_batch import InBatch
from twotower.model.negatives.sampler import RAREST, NegativeSampler
from twotower.model.negatives.uniform import Uniform


class Mixed(NegativeSampler):
    """Draws from several samplers, with the sampling probability of the mixture.

    q = sum of n_k q_k / sum of n_k, where n_k is the number of draws of part k. With positives of the batch
    and uniform draws, rare items are drawn, too.

    Reference: Yang et al., Mixed Negative Sampling, WWW 2020 companion, section 3.
    """

    class Config(NegativeSampler.Config):
        parts: Annotated[dict[str, NegativeSampler.Config], MinLen(1)] = Field(
            default_factory=lambda: {"in_batch": InBatch.Config(), "uniform": Uniform.Config()}
        )
        """Name -> sampler, as in `{often: {_target_:
        twotower.model.negatives.popularity_sampler.PopularitySampler, num_negatives: 512}}`; by default the
        positives of the batch and 1,024 uniform draws."""

        @property
        def provides(self) -> frozenset[str]:
            """What all parts provide."""
            return frozenset.intersection(*(part.provides for part in self.parts.values()))

        def num_draws(self, num_positives: int) -> int | None:
            """Return the draws of all parts."""
            return sum(part.num_draws(num_positives) or 0 for part in self.parts.values())

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse parts without a fixed number of draws."""
            for name, part in self.parts.items():
                if part.num_draws(1) is None or part.max_impressions() or part.refreshed_every():
                    text = "has no fixed number of draws; use in_batch, uniform or popularity"
                    yield f"parts.{name}", text

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.parts = nn.ModuleList(part.build(frequencies) for part in config.parts.values())

    def _parts(self, num_positives: int) -> Iterator[tuple[NegativeSampler, int]]:
        """Yield each part and its number of draws."""
        for part in self.parts:
            assert isinstance(part, NegativeSampler)
            yield part, part.config.num_draws(num_positives) or 0

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the distinct items of all parts and the number of draws of each."""
        drawn = [part.draw(positives, generator) for part, _ in self._parts(0)]
        rows, positions = torch.cat([rows for rows, _ in drawn]).unique(return_inverse=True)
        counts = torch.cat([counts for _, counts in drawn])
        return rows, torch.zeros_like(rows).index_add_(0, positions, counts)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of the mixture's probability."""
        total = self.config.num_draws(num_positives)
        shares = [
            part.log_q(rows, num_positives).exp() * (draws / max(1, total or 0))
            for part, draws in self._parts(num_positives)
        ]
        return torch.stack(shares).sum(0).clamp(min=RAREST).log()
