"""Balancing clusters: which are split and dropped, and where their vectors go."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.index.balance_clusters import balance_clusters, nearest


def line(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def repeated(values: dict[float, int]) -> np.ndarray:
    return line(*np.repeat([*values], [*values.values()]))


def test_the_nearest_centroid_is_that_of_the_least_distance() -> None:
    assert nearest(line(0, 4), line(1, 3, 2.5)).tolist() == [0, 1, 1]


def test_an_overfull_cluster_becomes_two_and_a_neighbour_changes_clusters() -> None:
    # The vector at 5 is nearer to 0 than to 10.6, but 8 is nearer still. The first mean is 5 / 81.
    centroids = line(0, 10.6, 30)
    vectors = repeated({0: 80, 5: 1, 8: 150, 12: 150, 30: 1})
    new, assigned = balance_clusters(centroids, vectors, nearest(centroids, vectors), 127)
    np.testing.assert_allclose(np.sort(new.ravel()), [5 / 81, 8, 12, 30], rtol=1e-6)  # one vector is enough
    expected = np.repeat([5 / 81, 8, 12, 30], [80, 151, 150, 1])
    np.testing.assert_allclose(new[assigned].ravel(), expected, rtol=1e-6)


def test_equal_vectors_stay_in_one_cluster() -> None:
    centroids, vectors = line(0, 10, 20), repeated({0: 5, 10: 300})
    new, moved = balance_clusters(centroids, vectors, nearest(centroids, vectors), 100)
    np.testing.assert_allclose(new, [[0], [10]], rtol=1e-5)  # the empty cluster is dropped
    assert moved.tolist() == [0] * 5 + [1] * 300


def test_centroids_of_other_clusters_move_to_the_mean() -> None:
    vectors = repeated({0: 100, 3: 50, 4: 50, 8: 100})
    new, assigned = balance_clusters(line(0, 5), vectors, np.repeat([0, 1], [100, 200]), 150)
    np.testing.assert_allclose(new.ravel(), [0, 5.75])  # (3 * 50 + 4 * 50 + 8 * 100) / 200
    assert assigned.tolist() == [0] * 100 + [1] * 200
    again = balance_clusters(new, vectors, assigned, 150)
    np.testing.assert_array_equal(again[0], new)
    np.testing.assert_array_equal(again[1], assigned)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 900), st.floats(0, 3))
def test_each_vector_is_in_its_nearest_cluster_and_inputs_stay(
    seed: int, num_clusters: int, num_vectors: int, spread: float
) -> None:
    random = np.random.default_rng(seed)
    centroids = random.standard_normal((num_clusters, 4), dtype=np.float32)
    vectors = random.standard_normal((num_vectors, 4), dtype=np.float32) * random.exponential(spread, (1, 4))
    vectors = vectors.astype(np.float32)
    before = nearest(centroids, vectors)
    given_before = centroids.copy(), before.copy()
    new, assigned = balance_clusters(centroids, vectors, before, num_vectors / num_clusters)
    again = balance_clusters(centroids, vectors, before, num_vectors / num_clusters)
    for one, other in zip((*again, *given_before), (new, assigned, centroids, before), strict=True):
        np.testing.assert_array_equal(one, other)
    own = np.linalg.norm(vectors - new[assigned], axis=1)
    least = np.linalg.norm(vectors[:, None] - new[None], axis=2).min(axis=1)
    np.testing.assert_allclose(own, least, rtol=1e-3, atol=1e-3)
