"""Initial item embeddings from a truncated SVD, the closed form of a linear autoencoder."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from twotower.config.spec import Fraction, PositiveFloat
from twotower.data.interactions import Interactions
from twotower.evaluation.item_content import truncated_svd
from twotower.evaluation.ranking import interaction_matrix
from twotower.model.towers.two_tower import TwoTower
from twotower.parallel.ranks import broadcast_tensor
from twotower.training.initialization.initialization import Initialization, ValidationScore, item_tables

LOG = logging.getLogger("twotower")
AT_THE_EDGE = (
    "initialization.score_scale=%.3g has the best validation score and is the lowest or highest "
    "value tried, %.3g to %.3g; set initialization.score_scale=VALUE for a value beyond"
)
SAMPLE = 2_000
"""Number of users whose items are scored for the scale."""
SCALES, DEFAULT_SCALE = (0.5, 1.0, 2.0, 4.0), 1.0
MAX_EXTENSIONS = 5
"""Number of scales beyond `SCALES`, each by a factor of 2: at most 128, at least 1/64."""


class Svd(Initialization):
    """Initial item embeddings c D V (S^2 / (S^2 + r))^.5, with U S V' the truncated SVD of interactions X.

    A summed history then gets the score of the ridge regression of X on itself (EASE without its
    constraint), reduced to the embedding dimension. D divides each item by a power of its count, because the
    item bias models popularity already. c scales the scores to logits; see `score_scale`. Sets embeddings of
    item ids with the width of the towers' output, and the history table; members of an ensemble have
    equal ones. With few users this keeps the model at the level of a linear one; with many users, training
    takes some epochs longer.

    Reference: Steck, Autoencoders that don't overfit towards the Identity, NeurIPS 2020, section 2 (the
    ridge regression's closed form in singular values).
    """

    informed = True

    class Config(Initialization.Config):
        regularization: PositiveFloat = 500
        """r, as in EASE."""
        count_power: Fraction = 0.5
        """Embeddings of items are divided by their count to this power; 0 = no division."""
        score_scale: PositiveFloat | None = None
        """Mean score of a user's items, each left out of the history that scores it. null selects the value
        with the best validation score before training, or 1 without a validation split: values from 0.5 to 4
        are tried, and values beyond while the best is the lowest or the highest, from 1/64 to 128."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.score_scale = config.score_scale

    def chosen(self) -> dict[str, float]:
        """Return the scale if it was null and selected; see `Initialization.chosen`."""
        is_chosen = self.score_scale is not None and self.config.score_scale is None
        return {"score_scale": self.score_scale or DEFAULT_SCALE} if is_chosen else {}

    def set(
        self, model: TwoTower, interactions: Interactions, validation_score: ValidationScore | None
    ) -> None:
        """Set the tables; see `Initialization.set`."""
        if not item_tables(model):
            LOG.info(
                "initialization: svd sets embeddings of item ids as wide as the towers' output; there are "
                "none (item_id of the kind Id, dim 0, among features.item); the initial weights are random"
            )
            return
        num_items, members = len(model.trained_items) - 1, model.num_members
        width = model.history.dim // members
        of_member = broadcast_tensor(
            lambda: torch.from_numpy(self.embeddings(interactions.examples, num_items, width)),
            (num_items, width),
            torch.float32,
        )
        embeddings = of_member.repeat(1, members) / members**0.5  # the mean of equal scores

        def set_tables(score_scale: float) -> None:
            scaled = embeddings * float(np.sqrt(score_scale, dtype=np.float32))
            for table, positions in item_tables(model):
                exists = positions >= 0
                with torch.no_grad():
                    table[positions[exists]] = scaled[exists].to(table.dtype)

        if self.score_scale is None and validation_score is not None:

            def score(score_scale: float) -> float:
                set_tables(score_scale)
                return validation_score()

            scores = search_score_scales(score)
            lowest, *_, highest = scores
            self.score_scale = best_score_scale(scores)
            LOG.debug(
                "initialization.score_scale=%.3g (validation score of the initial embeddings: %s)",
                self.score_scale,
                ", ".join(f"{abs(value):.4f} at {scale:g}" for scale, value in scores.items()),
            )
            if self.score_scale in (lowest, highest):
                LOG.warning(AT_THE_EDGE, self.score_scale, lowest, highest)
        set_tables(self.score_scale or DEFAULT_SCALE)

    def embeddings(self, interactions: Interactions, num_items: int, dim: int) -> NDArray[np.float32]:
        """Return initial item embeddings for a scale of 1, [N, dim]; zeros for items without interactions."""
        users = np.arange(interactions.num_users + 1)
        matrix = interaction_matrix(interactions, users, num_items).astype(np.float64)
        rank = min(dim, min(matrix.shape) - 1)
        embeddings = np.zeros((num_items, dim), dtype=np.float32)
        if rank < 1:
            return embeddings
        values, vectors = truncated_svd(matrix, rank)
        shares = values**2 / (values**2 + self.config.regularization)
        counts = np.maximum(np.asarray(matrix.sum(axis=0)).ravel(), 1)
        divisors = counts[:, None] ** self.config.count_power
        embeddings[:, :rank] = (vectors.T * np.sqrt(shares))[:, ::-1] / divisors
        scale = mean_own_score(matrix, embeddings)
        return embeddings / np.sqrt(scale, dtype=np.float32) if scale > 0 else embeddings


def search_score_scales(score: Callable[[float], float]) -> dict[float, float]:
    """Return scale -> score in ascending order of the scales, with the best scale between two others.

    Starts with `SCALES`. While the best scale is the lowest or the highest, the next one beyond it is scored
    too, at most `MAX_EXTENSIONS` times.
    """
    scores = {scale: score(scale) for scale in SCALES}
    for _ in range(MAX_EXTENSIONS):
        lowest, *_, highest = scores
        best = best_scale(scores)
        if lowest < best < highest:
            break
        scale = lowest / 2 if best == lowest else highest * 2
        scores = dict(sorted({**scores, scale: score(scale)}.items()))
    return scores


def best_scale(scores: Mapping[float, float]) -> float:
    """Return the scale with the highest score; of equal scores that nearest to 1."""
    return max(scores, key=lambda scale: (scores[scale], -abs(np.log(scale))))


def best_score_scale(scores: Mapping[float, float]) -> float:
    """Return the scale at the vertex of a parabola in log(scale) through the best scale and its neighbors.

    Args:
        scores: of ascending scales with a constant ratio. If the first or the last is highest, its scale is
            returned. Without an item bias all scales have the same ranking; then the scale nearest to 1 is
            the best.
    """
    scales, best = list(scores), best_scale(scores)
    if best in (scales[0], scales[-1]):
        return best
    position = scales.index(best)
    before, here, after = (scores[scale] for scale in scales[position - 1 : position + 2])
    curvature = before + after - 2 * here
    offset = (before - after) / (2 * curvature) if curvature else 0.0
    return float(best * (scales[1] / scales[0]) ** offset)


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
