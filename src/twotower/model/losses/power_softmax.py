"""Softmax with a power in place of the exponential."""

from dataclasses import replace
from typing import Annotated

from annotated_types import Ge, Le

from twotower.config.spec import PositiveFloat
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.scoring.scorer import ScoringConfig


class PowerSoftmax(SampledSoftmax):
    """-log of the positive's share of the odds o(s) = about (1 + s / p)^p, in place of exp(s).

    The score of a pooled history is a sum over its items. With exponential odds the contributions multiply;
    with p = 1 they add, as in a linear autoencoder and in item neighbors; other p are in between. With a
    score of 0 an item has its prior odds (`item_bias=trend`).

    Prefer it for pooled histories with `initialization=svd`.
    Reference: de Brebisson and Vincent, An Exploration of Softmax Alternatives Belonging to the Spherical
    Loss Family, ICLR 2016, section 3.2 (p = 2, without a prior).
    """

    class Config(SampledSoftmax.Config):
        temperature: PositiveFloat = 1.0
        """Divides scores, before the power."""
        power: Annotated[float, Ge(1), Le(64)] = 4.0
        """p; 1, 2, 4 and 8 are the fastest."""

        def scoring(self) -> ScoringConfig:
            """Return the power of the link function."""
            return replace(super().scoring(), power=self.power)

    config: Config
