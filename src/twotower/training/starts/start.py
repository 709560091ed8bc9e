"""What every start does."""

from abc import ABC, abstractmethod

from twotower.config.component import Component
from twotower.data.history import History
from twotower.towers.two_tower import TwoTower


class Start(Component, ABC):
    """Sets first weights from the log that is trained on.

    Args:
        config: the choice.
    """

    class Config(Component.Config):
        """Settings of every start."""

        def build(self) -> "Start":
            """Build the start."""
            return self.make(Start)

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def set(self, model: TwoTower, log: History) -> None:
        """Set weights of towers just built, whose first weights are random.

        Raises:
            InputError: these towers or this log do not suit it; begins with its group.
        """
