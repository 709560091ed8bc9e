"""Initial item embeddings from a truncated SVD, the closed form of a linear autoencoder."""

import functools
import logging
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray

from twotower.config.spec import Fraction, NonNegativeInt, PositiveFloat
from twotower.data.interactions import Interactions
from twotower.evaluation.ranking import interaction_matrix
from twotower.towers.two_tower import TwoTower
from twotower.training.initialization.initialization import Initialization, Validate, item_tables
from twotower.training.initialization.search import (
    EXPONENT,
    POWER,
    SCALE,
    Settings,
    Trial,
    search_scale,
    search_settings,
)

LOG = logging.getLogger("twotower")
Floats = NDArray[np.float64]
DENSE_SIDE = 1_024
"""Matrices with at most this many rows or columns are decomposed densely."""
DENSE_TOLERANCE = 1e-7
"""Singular values below this share of the largest count as zero."""
SAMPLE = 2_000
"""Number of users whose items are scored for the scale."""
DEFAULTS: Settings = {SCALE: 1.0, EXPONENT: 1.0, POWER: 0.5}


class Svd(Initialization):
    """Initial item embeddings c D V (S^2 / (S^2 + r))^.5, with U S V' the truncated SVD of interactions X.

    The score of a summed history is then that of the ridge regression of X on itself (EASE without its
    constraint), reduced to the embedding dimension. D divides each item by a power of its count, because the
    item bias models popularity already. c scales the scores to logits; see `score_scale`. Sets embeddings of
    item ids with the width of the towers' output, and the history table. With few users this keeps the model
    at the level of a linear one; with many users, training takes some epochs longer.

    Settings that are null are searched on the validation split before training: the scale, then the exponent
    of `item_bias=trend` and the count power. The last two keep their defaults unless another value is better
    by two standard errors. The regularization is not searched: a higher one may be better before training,
    but scales down embedding dimensions, which then learn more slowly.

    Reference: Steck, Autoencoders that don't overfit towards the Identity, NeurIPS 2020, section 2 (the
    ridge regression's closed form in singular values).
    """

    informed = True

    class Config(Initialization.Config):
        """Settings of the SVD."""

        regularization: PositiveFloat = 500
        """r, as in EASE."""
        count_power: Fraction | None = None
        """Embeddings of items are divided by their count to this power, 0 = no division; null = 0.5, or a
        better value on the validation split."""
        score_scale: PositiveFloat | None = None
        """Mean score of a user's items, each left out of the history that scores it. null selects the value
        with the best validation score before training, or 1 without a validation split: values from 0.5 to 4
        are tried, and values beyond while the best is the lowest or the highest, from 1/64 to 128."""
        max_validations: NonNegativeInt = 60
        """Budget of the search of count_power and item_bias.exponent: maximum number of rankings of the
        validation users. 0 = no search."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        given = {SCALE: config.score_scale, POWER: config.count_power}
        self.given = {key: value for key, value in given.items() if value is not None}
        self.found: dict[str, float] = {}

    def chosen(self) -> dict[str, float]:
        """Return the settings that the search selected; see `Initialization.chosen`."""
        return self.found

    def set(self, model: TwoTower, interactions: Interactions, validate: Validate | None) -> None:
        """Set the tables; see `Initialization.set`."""
        tables = item_tables(model)
        if not tables:
            LOG.info(
                "initialization: svd sets embeddings of item ids as wide as the towers' output; there are "
                "none (item_id of the kind Id, dim 0, among features.item); the initial weights are random"
            )
            return
        num_items = len(model.trained_items) - 1
        linear = LinearModel.fit(interactions.examples, num_items, model.history.dim)
        embeddings = functools.lru_cache(maxsize=1)(linear.embeddings)  # of several scales
        takes_exponent = model.item_bias.config.takes_exponent

        def apply(settings: Settings) -> None:
            unscaled = embeddings(self.config.regularization, settings[POWER])
            scaled = torch.from_numpy(unscaled * np.sqrt(settings[SCALE], dtype=np.float32))
            for table, positions in tables:
                exists = positions > 0
                with torch.no_grad():
                    table[positions[exists]] = scaled[exists].to(table.dtype)
            if takes_exponent:
                model.item_bias.set_exponent(settings[EXPONENT])

        if validate is not None:

            def trial(settings: Settings, fit_new_items: bool) -> Trial:
                apply(settings)
                return Trial(settings, *validate(fit_new_items))

            fixed = {*self.given, *(() if takes_exponent else (EXPONENT,))}
            defaults = {**DEFAULTS, **self.given}
            if SCALE not in fixed:
                self.found[SCALE] = search_scale(defaults, trial)
            if self.config.max_validations:
                start = {**defaults, **self.found}
                best = search_settings(start, fixed, trial, self.config.max_validations)
                self.found |= {key: value for key, value in best.items() if value != start[key]}
        apply({**DEFAULTS, **self.found, **self.given})


@dataclass(frozen=True, eq=False)
class LinearModel:
    """The truncated SVD of the interactions [users, N]."""

    matrix: scipy.sparse.csr_array
    values: Floats
    """[R] singular values."""
    vectors: Floats
    """[N, R]"""
    dim: int

    @classmethod
    def fit(cls, interactions: Interactions, num_items: int, dim: int) -> "LinearModel":
        """Decompose the interactions, with R = dim or the rank of smaller ones."""
        users = np.arange(interactions.num_users + 1)
        matrix = interaction_matrix(interactions, users, num_items).astype(np.float64)
        rank = min(dim, min(matrix.shape) - 1)
        if rank < 1:
            return cls(matrix, np.zeros(0), np.zeros((num_items, 0)), dim)
        values, vectors = truncated_svd(matrix, rank)
        return cls(matrix, values[::-1], vectors.T[:, ::-1], dim)

    def embeddings(self, regularization: float, count_power: float) -> NDArray[np.float32]:
        """Return item embeddings for a scale of 1, [N, dim]; zeros for items without interactions."""
        shares = self.values**2 / (self.values**2 + regularization)
        counts = np.maximum(np.asarray(self.matrix.sum(axis=0)).ravel(), 1)
        embeddings = np.zeros((len(counts), self.dim), dtype=np.float32)
        embeddings[:, : len(shares)] = self.vectors * np.sqrt(shares) / counts[:, None] ** count_power
        scale = mean_own_score(self.matrix, embeddings)
        return embeddings / np.sqrt(scale, dtype=np.float32) if scale > 0 else embeddings


def truncated_svd(matrix: scipy.sparse.csr_array, rank: int) -> tuple[Floats, Floats]:
    """Return the largest singular values [rank], ascending, and their right singular vectors [rank, N].

    Bit-identical for equal matrices. ARPACK draws unseeded vectors if `rank` exceeds the rank of the matrix,
    which is possible for small ones, so these are decomposed densely.
    """
    if min(matrix.shape) > DENSE_SIDE:
        first = np.random.default_rng(0).standard_normal(min(matrix.shape))
        _, largest, vectors = scipy.sparse.linalg.svds(matrix, k=rank, v0=first)
        return largest.astype(np.float64), vectors
    wide = matrix.shape[0] < matrix.shape[1]
    gram = (matrix @ matrix.T if wide else matrix.T @ matrix).toarray()
    squares, vectors = np.linalg.eigh(gram)
    values: Floats = np.sqrt(np.maximum(squares[-rank:], 0)).astype(np.float64)
    if not wide:
        return values, vectors[:, -rank:].T
    scale = np.where(values > DENSE_TOLERANCE * values[-1], values, np.inf)
    return values, (matrix.T @ vectors[:, -rank:] / scale).T


def mean_own_score(matrix: scipy.sparse.csr_array, embeddings: NDArray[np.float32]) -> float:
    """Return the mean score of users' items, each left out of the history that scores it.

    A history is the sum of its embeddings, divided by the root of its length. Users with a single item are
    left out.

    Args:
        matrix: [users, N], ones where a user has interacted with an item.
    """
    lengths = np.diff(matrix.indptr)
    several = matrix[np.flatnonzero(lengths > 1)[:: max(1, (lengths > 1).sum() // SAMPLE)]]
    if not several.nnz:
        return 0.0
    lengths = np.diff(several.indptr)
    users = np.repeat(np.arange(len(lengths)), lengths)
    item_embeddings = embeddings[several.indices]
    scores = np.einsum("nd,nd->n", (several @ embeddings)[users] - item_embeddings, item_embeddings)
    return float((scores / np.sqrt(lengths[users])).mean())
