"""A search that learns where good trials lie."""

from typing import TYPE_CHECKING

from twotower.sweeps.search import Search

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Tpe(Search):
    """The tree-structured Parzen estimator, over all keys together; for one objective or several.

    Trials that still run count as bad ones, so that processes keep out of each other's way.

    Reference: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"; Watanabe 2023,
    "Tree-structured Parzen estimator: understanding its algorithm components".
    """

    def sampler(self, seed: int) -> "BaseSampler":
        """Return Optuna's TPE."""
        from optuna.samplers import TPESampler

        return TPESampler(
            n_startup_trials=self.config.num_startup,
            multivariate=True,
            constant_liar=True,
            seed=seed,
        )
