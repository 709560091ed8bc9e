"""The embeddings of items start from a linear autoencoder's, cut to their width."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray

from twotower.config.spec import Fraction, PositiveFloat
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.ease import interaction_matrix
from twotower.towers.two_tower import TwoTower
from twotower.training.initialization.initialization import Initialization, Judge, item_tables

LOG = logging.getLogger("twotower")
Floats = NDArray[np.float64]
DENSE_SIDE = 1_024
"""Matrices with no more rows, or no more columns, are decomposed densely."""
DENSE_TOLERANCE = 1e-7
"""Of the largest singular value: what is below it is zero, as accurate as squares of values can tell."""
AT_THE_EDGE = (
    "initialization.score_scale=%.3g is the best on the validation split and at the edge of the "
    "values tried, %.3g to %.3g; initialization.score_scale=VALUE sets one beyond"
)
SAMPLE = 2_000  # users whose own items are scored
LEVELS, UNJUDGED = (0.5, 1.0, 2.0, 4.0), 1.0
MOST_WIDENINGS = 5
"""How often the levels are extended by a factor of 2: at most to 128, or down to 1/64."""


class Svd(Initialization):
    """With X the users' items, U S V' its truncated SVD: item embeddings start as c D V (S^2 / (S^2 + r))^.5.

    Scores of a summed history are then those of the ridge regression of X on itself, cut to the embedding's
    width, so that training begins about where EASE ends and learns what is to be added. D divides an item by
    a power of how often it was taken, since such scores repeat what the item bias has of popularity already;
    c makes them logits: without it a log of short histories would start with scores near zero, one of long
    histories with scores too sure. Set are embeddings of ids as wide as the towers' output, and the history's
    own table where it has one. On logs of few users this is what keeps a model from falling behind a linear
    one; on others training starts some epochs later.

    Reference: Steck, Autoencoders that don't overfit towards the Identity, NeurIPS 2020, section 2 (the
    ridge regression's closed form in singular values).
    """

    informed = True

    class Config(Initialization.Config):
        """The ridge, and how sure scores are."""

        regularisation: PositiveFloat = 500
        """r, as EASE's."""
        count_power: Fraction = 0.5
        """Items are divided by how often they were taken to this power; 0 = not at all."""
        score_scale: PositiveFloat | None = None
        """What a user's own items score in the mean, each left out of the history it is scored by; null: what
        is best on the validation split before training, and 1 where there is none. Levels from 0.5 to 4 are
        tried, and further ones while the best is the lowest or the highest: at most 128, at least 1/64."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.score_scale = config.score_scale

    def chosen(self) -> dict[str, float]:
        """Return the level, where it was left open and judged; see `Initialization.chosen`."""
        return (
            {}
            if self.score_scale is None or self.config.score_scale is not None
            else {"score_scale": self.score_scale}
        )

    def set(self, model: TwoTower, interactions: Interactions, judge: Judge | None) -> None:
        """Set the tables; see `Initialization.set`."""
        tables = item_tables(model)
        if not tables:
            LOG.info(
                "initialization: svd sets embeddings of item ids as wide as the towers' output; there are "
                "none (item_id of the kind Id, dim 0, among features.item); training starts at random"
            )
            return
        found = self.embeddings(interactions.examples, len(model.trained_items) - 1, model.history.dim)

        def put(level: float) -> None:
            scaled = torch.from_numpy(found * np.sqrt(level, dtype=np.float32))
            for table, places in tables:
                known = places > 0
                with torch.no_grad():
                    table[places[known]] = scaled[known].to(table.dtype)

        if self.score_scale is None and judge is not None:

            def score(level: float) -> float:
                put(level)
                return judge()

            levels, scores = search_levels(score)
            self.score_scale = peak(levels, scores)
            told = (f"{abs(value):.4f} at {level:g}" for level, value in zip(levels, scores, strict=True))
            LOG.info(
                "initialization.score_scale=%.3g: untrained, validation is %s",
                self.score_scale,
                ", ".join(told),
            )
            if self.score_scale in (levels[0], levels[-1]):
                LOG.warning(AT_THE_EDGE, self.score_scale, levels[0], levels[-1])
        put(self.score_scale or UNJUDGED)

    def embeddings(self, interactions: Interactions, num_items: int, dim: int) -> NDArray[np.float32]:
        """Return first embeddings of items at a level of 1, [N, dim]; zeros for those that nobody has."""
        taken = interaction_matrix(interactions, np.arange(interactions.num_users + 1), num_items).astype(
            np.float64
        )
        rank = min(dim, min(taken.shape) - 1)
        found = np.zeros((num_items, dim), dtype=np.float32)
        if rank < 1:
            return found
        values, vectors = truncated_svd(taken, rank)
        shares = values**2 / (values**2 + self.config.regularisation)
        counts = np.maximum(np.asarray(taken.sum(axis=0)).ravel(), 1)
        found[:, :rank] = (vectors.T * np.sqrt(shares))[:, ::-1] / counts[:, None] ** self.config.count_power
        own = own_score(taken, found)
        return found / np.sqrt(own, dtype=np.float32) if own > 0 else found


def truncated_svd(matrix: scipy.sparse.csr_array, rank: int) -> tuple[Floats, Floats]:
    """Return the largest singular values [rank], ascending, and their right singular vectors [rank, N].

    Equal matrices give equal bits. ARPACK draws unseeded vectors where `rank` exceeds the rank of the matrix,
    as it can for small ones, so these are decomposed densely.
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


def search_levels(score: Callable[[float], float]) -> tuple[list[float], list[float]]:
    """Return levels, ascending by factors of 2, and their scores, with the best between two others.

    Starts with `LEVELS`. While the best is the lowest or the highest level, the next one beyond it is scored
    too, at most `MOST_WIDENINGS` times.
    """
    scores = {level: score(level) for level in LEVELS}
    for _ in range(MOST_WIDENINGS):
        levels = sorted(scores)
        best = best_place(levels, [scores[level] for level in levels])
        if 0 < best < len(levels) - 1:
            break
        level = levels[0] / 2 if best == 0 else levels[-1] * 2
        scores[level] = score(level)
    return sorted(scores), [scores[level] for level in sorted(scores)]


def best_place(levels: Sequence[float], values: Sequence[float]) -> int:
    """Return the position of the highest value; of equal ones that of the level nearest to 1."""
    return max(range(len(levels)), key=lambda place: (values[place], -abs(np.log(levels[place]))))


def peak(levels: Sequence[float], values: Sequence[float]) -> float:
    """Return where values are highest: by a parabola in log(level) through the highest and its neighbours.

    Args:
        levels: each as many times the one before.
        values: of each level; where the first or the last is highest, it is the peak, and of equal ones that
            of the level nearest to 1: without an item bias no level changes a ranking.
    """
    best = best_place(levels, values)
    if not 0 < best < len(levels) - 1:
        return levels[best]
    before, here, after = values[best - 1 : best + 2]
    curve = before + after - 2 * here
    away = (before - after) / (2 * curve) if curve else 0.0
    return float(levels[best] * (levels[1] / levels[0]) ** away)


def own_score(taken: scipy.sparse.csr_array, embeddings: NDArray[np.float32]) -> float:
    """Return the mean score of users' own items by the rest of what they have.

    A history is summed and divided by the root of its length; each item scored is taken out of the sum. Users
    of a single item have no rest.

    Args:
        taken: users x items, of ones.
        embeddings: of items, [N, d].
    """
    lengths = np.diff(taken.indptr)
    several = taken[np.flatnonzero(lengths > 1)[:: max(1, (lengths > 1).sum() // SAMPLE)]]
    if not several.nnz:
        return 0.0
    lengths = np.diff(several.indptr)
    users = np.repeat(np.arange(len(lengths)), lengths)
    of_items = embeddings[several.indices]
    scores = np.einsum("nd,nd->n", (several @ embeddings)[users] - of_items, of_items)
    return float((scores / np.sqrt(lengths[users])).mean())
