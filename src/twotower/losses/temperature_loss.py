"""Losses of scores that are divided by a temperature."""

from abc import ABC

from twotower.config.spec import PositiveFloat
from twotower.losses.loss import Loss
from twotower.scoring.scoring_config import ScoringConfig


class TemperatureLoss(Loss, ABC):
    """A loss whose `Config` sets the temperature of the scores."""

    class Config(Loss.Config):
        """The temperature."""

        temperature: PositiveFloat = 0.1
        """What scores are divided by, first of all; 1 suits towers without a norm, 0.1 or less `l2`."""
        learned_temperature: bool = False
        """Train it, starting from `temperature`."""

        def scoring(self) -> ScoringConfig:
            """Return the temperature."""
            return ScoringConfig(self.temperature, self.learned_temperature)

    config: Config
