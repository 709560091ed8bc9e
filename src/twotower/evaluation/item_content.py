"""Vectors of items: the content of their features, and embeddings by their users.

Shapes: N items, V components of the vectors, W words of a feature.
"""

import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import norm, svds

from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.metrics.metric_data import MetricData
from twotower.evaluation.ranking import interaction_matrix
from twotower.model.features.dense import Dense
from twotower.model.features.feature import Feature
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id

Floats = NDArray[np.float64]
EMBEDDING_DIM = 64
DENSE_SIDE = 1_024
"""Matrices with at most this many rows or columns are decomposed densely."""
DENSE_TOLERANCE = 1e-7
"""Singular values below this share of the largest count as zero."""


def has_content(features: Mapping[str, Feature.Config]) -> bool:
    """Return whether items have other features than ids."""
    return any(not issubclass(feature.owner, Id) for feature in features.values())


def item_content(items: FeatureTable, is_trained: NDArray[np.bool_]) -> sparse.csr_array | None:
    """Return the content of the catalogue as unit vectors [N, V], None if items have ids only.

    Words, tags and categories become TF-IDF values, counted once per item. These and vectors are scaled to
    length 1 per feature, so that all features have the same weight. Numbers are standardized, and used only
    if there are no other features, because they would dominate words. Document counts, means and deviations
    are computed over the items that are marked in `is_trained` [N].
    """
    bags, numbers = [], []
    for name, encoded in items.all_rows().items():
        feature, values = items.features[name], encoded.cpu().numpy()
        if isinstance(feature, Dense):
            bags.append(unit(sparse.csr_array(values)))
        elif np.issubdtype(values.dtype, np.floating):
            numbers.append(_standardize(values, is_trained))
        elif not isinstance(feature, Id):
            bags.append(_tf_idf(values, is_trained))
    blocks = bags or numbers
    return unit(sparse.csr_array(sparse.hstack(blocks))) if blocks else None


def content_scores(
    content: sparse.csr_array, history: Interactions, users: np.ndarray
) -> NDArray[np.float32]:
    """Return the dot products of the sum of each user's distinct items with every item, float32 [B, N].

    `content` is float32 [N, V].
    """
    # A product with a dense matrix of the users' components is faster than a product of two sparse ones.
    wanted = interaction_matrix(history, users, content.shape[0]) @ content
    components = np.unique(wanted.indices)
    dense = wanted[:, components].T.toarray()
    scores: NDArray[np.float32] = np.ascontiguousarray((content[:, components] @ dense).T)
    return scores


def unit(vectors: sparse.csr_array) -> sparse.csr_array:
    """Return rows [N, V] scaled to length 1; zero rows stay zero."""
    norms = norm(vectors, axis=1)
    return sparse.csr_array(sparse.diags_array(1 / np.where(norms > 0, norms, 1.0)) @ vectors)


def _tf_idf(bags: np.ndarray, is_trained: NDArray[np.bool_]) -> sparse.csr_array:
    """Return bags of rows [N, W], 0 = padding, as unit vectors; components without a trained item are 0."""
    rows, columns = np.nonzero(bags)
    components = bags[rows, columns].astype(np.int64)
    shape = len(bags), int(components.max(initial=0)) + 1
    present = sparse.csr_array((np.ones(len(components)), (rows, components)), shape=shape)
    present.data[:] = 1.0
    documents: Floats = np.asarray(present[is_trained].sum(axis=0)).ravel()
    idf = np.where(documents > 0, 1 + np.log((1 + is_trained.sum()) / (1 + documents)), 0.0)
    return unit(sparse.csr_array(present @ sparse.diags_array(idf)))


def _standardize(numbers: np.ndarray, is_trained: NDArray[np.bool_]) -> sparse.csr_array:
    """Return numbers [N, W] in standard deviations from the mean; constant columns are 0."""
    wide = numbers.astype(np.float64)
    deviation = wide[is_trained].std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1.0), 0.0)
    return sparse.csr_array((wide - wide[is_trained].mean(axis=0)) * scale)


def metric_data(dataset: RetrievalDataset, features: Mapping[str, Feature.Config]) -> MetricData:
    """Return the tables of a data set, and item vectors, which are computed when a metric reads them.

    Both spaces come from the training split, also for the test split: `item_content`, and the first
    singular vectors of the matrix of items of length 1 and users, so that items of the same users are alike.
    """
    train, num_items = dataset.train.positives, len(dataset.items)

    @functools.cache
    def content() -> sparse.csr_array:
        is_trained = np.bincount(train.items, minlength=num_items + 1)[1:] > 0
        built = {name: choice.build(1) for name, choice in features.items()}
        rows, source = np.flatnonzero(is_trained) + 1, dataset.source_paths.get("items", "items")
        vectors = item_content(FeatureTable.fit(built, dataset.item_table, rows, source), is_trained)
        assert vectors is not None
        return vectors

    @functools.cache
    def embeddings() -> sparse.csr_array:
        users = np.arange(train.num_users + 1)
        matrix = unit(sparse.csr_array(interaction_matrix(train, users, num_items).T))
        size = min(matrix.shape)
        if size < 2:
            return matrix
        _, users_vectors = truncated_svd(matrix.astype(np.float64), min(EMBEDDING_DIM, size - 1))
        return unit(sparse.csr_array(matrix @ users_vectors.T))  # exactly 0 for items without users

    vectors = {"content": content, "embeddings": embeddings}
    return MetricData(dataset.user_table, dataset.item_table, vectors)


def truncated_svd(matrix: sparse.csr_array, rank: int) -> tuple[Floats, Floats]:
    """Return the largest singular values [rank], ascending, and their right singular vectors [rank, N].

    Bit-identical for equal matrices. ARPACK draws unseeded vectors if `rank` exceeds the rank of the matrix,
    which is possible for small ones, so these are decomposed densely.
    """
    if min(matrix.shape) > DENSE_SIDE:
        first = np.random.default_rng(0).standard_normal(min(matrix.shape))
        _, largest, vectors = svds(matrix, k=rank, v0=first)
        return largest.astype(np.float64), vectors
    wide = matrix.shape[0] < matrix.shape[1]
    gram = (matrix @ matrix.T if wide else matrix.T @ matrix).toarray()
    squares, vectors = np.linalg.eigh(gram)
    values: Floats = np.sqrt(np.maximum(squares[-rank:], 0)).astype(np.float64)
    if not wide:
        return values, vectors[:, -rank:].T
    scale = np.where(values > DENSE_TOLERANCE * values[-1], values, np.inf)
    return values, (matrix.T @ vectors[:, -rank:] / scale).T
