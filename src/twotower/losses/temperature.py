"""The temperature that scores are divided by: fixed, or learned within bounds; and losses that have one."""

import math
from abc import ABC

import torch
from torch import Tensor, nn

from twotower.config.spec import PositiveFloat
from twotower.losses.loss import Loss

LOWEST, HIGHEST = 0.01, 10.0


class Temperature(nn.Module):
    """Divide embeddings (and so their scores) by a temperature.

    Args:
        initial: the temperature, or where a learned one starts.
        learned: train its logarithm; it is kept within [0.01, 10] (or its start), since a free one can run
            to 0.
    """

    def __init__(self, initial: float, learned: bool) -> None:
        super().__init__()
        logarithm = torch.tensor(math.log(initial))
        self.learned = learned
        self.lowest, self.highest = math.log(min(LOWEST, initial)), math.log(max(HIGHEST, initial))
        self.logarithm = nn.Parameter(logarithm, requires_grad=learned)

    @property
    def value(self) -> Tensor:
        """The temperature as a scalar tensor."""
        return self.logarithm.exp()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings over the temperature."""
        if self.learned:
            with torch.no_grad():  # the parameter itself: one beyond a clamp has no gradient to come back by
                self.logarithm.clamp_(self.lowest, self.highest)
        return embeddings / self.value


class TemperatureLoss(Loss, ABC):
    """A loss of scores that are divided by `self.temperature` first.

    Args:
        config: says which.
        num_items: see `Loss`.
    """

    class Config(Loss.Config):
        """The temperature."""

        temperature: PositiveFloat = 0.1
        """What scores are divided by, first of all; 1 suits towers without a norm, 0.1 or less `l2`."""
        learned_temperature: bool = False
        """Train it, starting from `temperature`."""

        @property
        def has_fixed_temperature(self) -> bool:
            """Where the temperature is what it is before anything is trained."""
            return not self.learned_temperature

    config: Config

    def __init__(self, config: Config, num_items: int = 1) -> None:
        super().__init__(config, num_items)
        self.temperature = Temperature(config.temperature, config.learned_temperature)

    def scaled(self, users: Tensor) -> Tensor:
        """Return users over the temperature."""
        scaled: Tensor = self.temperature(users)
        return scaled
