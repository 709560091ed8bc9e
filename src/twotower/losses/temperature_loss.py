"""The base class of losses with a temperature."""

from abc import ABC

from twotower.config.spec import PositiveFloat
from twotower.losses.loss import Loss
from twotower.scoring.scoring_config import ScoringConfig


class TemperatureLoss(Loss, ABC):
    """A loss whose `Config` sets the temperature of the scores."""

    class Config(Loss.Config):
        """The temperature."""

        temperature: PositiveFloat = 0.1
        """Divides scores; 1 suits towers without normalization, 0.1 or less suits `l2`."""
        learned_temperature: bool = False
        """Train the temperature, with `temperature` as the initial value."""

        def scoring(self) -> ScoringConfig:
            """Return the temperature."""
            return ScoringConfig(self.temperature, self.learned_temperature)

    config: Config
