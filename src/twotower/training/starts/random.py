"""Nothing is known at first."""

from twotower.data.history import History
from twotower.towers.two_tower import TwoTower
from twotower.training.starts.start import Start


class Random(Start):
    """First weights are random, as the towers draw them."""

    class Config(Start.Config):
        """Nothing to set."""

    def set(self, model: TwoTower, log: History) -> None:
        """Leave them."""
