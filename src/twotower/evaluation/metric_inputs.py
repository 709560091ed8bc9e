"""What metrics read of a data set besides lists."""

import functools
from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.baselines.baseline import interaction_matrix
from twotower.evaluation.item_content import item_content, unit
from twotower.features.feature import Feature
from twotower.features.feature_table import FeatureTable
from twotower.metrics.metric_data import MetricData

EMBEDDING_DIM = 64


def metric_data(dataset: RetrievalDataset, features: Mapping[str, Feature.Config]) -> MetricData:
    """Return the tables of a data set, and item vectors: content and embeddings.

    Both are those of the training split, also for the test split, and are computed when a metric reads them.
    Content is that of `item_content`. Embeddings are the first singular vectors of the matrix of items of
    length 1 and users, so that items of the same users are alike.
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
        _, _, users_vectors = svds(matrix, k=min(EMBEDDING_DIM, size - 1), v0=np.ones(size))
        return unit(sparse.csr_array(matrix @ users_vectors.T))  # exactly 0 for items without users

    vectors = {"content": content, "embeddings": embeddings}
    return MetricData(dataset.user_table, dataset.item_table, vectors)
