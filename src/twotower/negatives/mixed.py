"""Draws of several sources together."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import MinLen
from pydantic import Field
from torch import Tensor, nn

from twotower.data.sources.source import Source
from twotower.negatives.in_batch import RAREST, InBatch
from twotower.negatives.sampler import ImpressionsAs, NegativeSampler
from twotower.negatives.uniform import Uniform


def usual() -> dict[str, NegativeSampler.Config]:
    """Return the batch's own positives and uniform draws."""
    return {"in_batch": InBatch.Config(), "uniform": Uniform.Config()}


class Mixed(NegativeSampler):
    """What each of its parts draws, with one q for all: the mixture's.

    q = sum of n_k q_k / sum of n_k, n_k the draws of part k: they are the weights. With the batch's positives
    and uniform draws rare items are drawn too, and popular ones are corrected by what the whole mixture does,
    not by one of its parts.

    Reference: Yang et al., Mixed Negative Sampling, WWW 2020 companion, section 3.
    """

    class Config(NegativeSampler.Config):
        """Of what."""

        parts: Annotated[dict[str, NegativeSampler.Config], MinLen(1)] = Field(default_factory=usual)
        """Sources by a name of one's own, as in `{often: {_target_: twotower.negatives.popularity.Popularity,
        num_negatives: 512}}`; by themselves the batch's positives and 1,024 uniform draws."""

        @property
        def provides(self) -> frozenset[str]:
            """What all parts provide."""
            return frozenset.intersection(*(part.provides for part in self.parts.values()))

        def num_draws(self, num_positives: int) -> int | None:
            """Return those of all parts."""
            return sum(part.num_draws(num_positives) or 0 for part in self.parts.values())

        def problems(
            self,
            data: Source.Config | None = None,
            num_items: int | None = None,
            impressions_as: ImpressionsAs | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse parts that do not draw."""
            for name, part in self.parts.items():
                if part.num_draws(1) is None or part.max_impressions() or part.refreshed_every():
                    text = (
                        "draws nothing that could be mixed; name in_batch, uniform or popularity, or set this"
                    )
                    yield f"parts.{name}", f"{text} source beside a mixture"

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.parts = nn.ModuleList(part.build(frequencies) for part in config.parts.values())

    def _parts(self, num_positives: int) -> Iterator[tuple[NegativeSampler, int]]:
        """Yield the parts and the draws of each."""
        for part in self.parts:
            assert isinstance(part, NegativeSampler)
            yield part, part.config.num_draws(num_positives) or 0

    def observe(self, positives: Tensor) -> None:
        """Show the positives to all parts."""
        for part, _ in self._parts(0):
            part.observe(positives)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the distinct items of all parts and how often each was drawn."""
        drawn = [part.draw(positives, generator) for part, _ in self._parts(0)]
        rows, places = torch.cat([rows for rows, _ in drawn]).unique(return_inverse=True)
        counts = torch.cat([counts for _, counts in drawn])
        return rows, torch.zeros_like(rows).index_add_(0, places, counts)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of the mixture's probability."""
        total = self.config.num_draws(num_positives)
        shares = [
            part.log_q(rows, num_positives).exp() * (draws / max(1, total or 0))
            for part, draws in self._parts(num_positives)
        ]
        return torch.stack(shares).sum(0).clamp(min=RAREST).log()
