"""Random search, the reference for other searches."""

from typing import TYPE_CHECKING

from twotower.experiments.sweeps.search import Search

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class RandomSearch(Search):
    """Draws every trial independently and uniformly from the space.

    Reference: Bergstra and Bengio 2012, "Random search for hyper-parameter optimization".
    """

    def sampler(self, seed: int) -> "BaseSampler":
        """Return Optuna's random sampler."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)
