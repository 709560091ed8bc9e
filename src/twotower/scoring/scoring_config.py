"""The settings of logits, which a loss declares."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ScoringConfig:
    """The settings of a `Scorer`, as the loss's `Config.scoring` returns them.

    Attributes:
        temperature: divides scores; None: no division.
        learns_temperature: train the temperature, which is then the initial value.
        power: of the link function; None: odds are exponentials of scores.
        log_q_correction: `all` subtracts log q from every logit, `negatives` the log of the expected number
            of draws from logits of negatives only, `none` nothing.
    """

    temperature: float | None = None
    learns_temperature: bool = False
    power: float | None = None
    log_q_correction: Literal["none", "all", "negatives"] = "none"
