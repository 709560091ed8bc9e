"""Matrix factorization of implicit feedback, by the library `implicit`."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from twotower.config.spec import NonNegativeFloat, PositiveFloat, PositiveInt, Seed
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData, TriedValues
from twotower.evaluation.ranking import interaction_matrix

LACKING = "it needs the library implicit"


class Ials(Baseline):
    """Score = the dot product of factors from alternating least squares; users are folded in.

    Users without a history get popularity. It needs 4 x `factors` bytes per user and item.

    Reference: Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008,
    section 4, with `alpha` as the confidence of an interaction; all other pairs have 1.
    """

    class Config(Baseline.Config):
        factors: PositiveInt = 64
        """Number of factors of users and items."""
        regularization: NonNegativeFloat = 30
        """L2 penalty."""
        alpha: PositiveFloat = 10
        """Weight of interactions; missing interactions have the weight 1."""
        iterations: PositiveInt = 15
        """Number of alternating iterations."""
        seed: Seed = 0
        """Seed of the initial factors."""

        def space(self, past: BaselineData) -> Mapping[str, TriedValues]:
            """Return penalties, weights and numbers of factors."""
            return {
                "regularization": TriedValues((3.0, 10.0, 100.0, 300.0)),
                "alpha": TriedValues((1.0, 3.0, 30.0, 100.0)),
                "factors": TriedValues((32, 128, 256)),
            }

        def skip_reason(self, past: BaselineData) -> str | None:
            """See `Baseline.Config.skip_reason`."""
            return None if find_spec("implicit") else f"{LACKING}: pip install 'twotower[ials]'"

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Fit the factors."""
        config, matrix = self.config, past.matrix
        self.fallback = past.fallback
        self.model = import_module("implicit.cpu.als").AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.regularization,
            alpha=config.alpha,
            iterations=config.iterations,
            random_state=config.seed,
        )
        with import_module("threadpoolctl").threadpool_limits(1, "blas"):  # the library has its own threads
            self.model.fit(
                scipy.sparse.csr_matrix(matrix), show_progress=False, callback=lambda *_: past.budget.check()
            )

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the predicted scores of histories."""
        matrix = interaction_matrix(history, users, len(self.fallback))
        with import_module("threadpoolctl").threadpool_limits(1, "blas"):
            folded = self.model.recalculate_user(np.arange(len(users)), scipy.sparse.csr_matrix(matrix))
        found: NDArray[np.float32] = folded @ self.model.item_factors.T
        found[np.diff(matrix.indptr) == 0] = self.fallback
        return found
