"""Search with the tree-structured Parzen estimator."""

from typing import TYPE_CHECKING

from twotower.experiments.sweeps.search import Search

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Tpe(Search):
    """Multivariate tree-structured Parzen estimator, for one objective or several.

    Running trials count as bad ones (constant liar), so trials that run in parallel differ.

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
