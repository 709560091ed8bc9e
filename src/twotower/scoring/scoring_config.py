"""The settings of logits, which a loss declares."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class ScoringConfig:
    """The settings of a `Scorer`, as the loss's `Config.scoring` returns them.

    Attributes:
        temperature: divides scores; None: no division.
        learns_temperature: train the temperature, which is then the initial value.
        power: of the link function; None: odds are exponentials of scores.
        log_q_correction: `all` subtracts log q from every logit, `negatives` the log of the expected number
            of draws from logits of negatives only, `none` nothing.
        num_halvings: number of truncations of the embeddings, each to half the width, with separate logits.
        normalizes_truncations: rescale truncated embeddings to length 1.
        uses_negatives: whether negatives are drawn.
    """

    temperature: float | None = None
    learns_temperature: bool = False
    power: float | None = None
    log_q_correction: Literal["none", "all", "negatives"] = "none"
    num_halvings: int = 0
    normalizes_truncations: bool = False
    uses_negatives: bool = True

    def truncations(self, dim: int) -> list[Callable[[Tensor], Tensor]]:
        """Return functions from embeddings [..., D] to each shorter width, the widest first."""
        widths = [dim >> halvings for halvings in range(1, self.num_halvings + 1)]
        return [partial(truncate, width=width, normalize=self.normalizes_truncations) for width in widths]


def truncate(embeddings: Tensor, width: int, normalize: bool) -> Tensor:
    """Return the first `width` columns of embeddings [..., D], rescaled to length 1 if asked."""
    first = embeddings[..., :width]
    return functional.normalize(first, dim=-1) if normalize else first
