"""Balancing cells: which are split and dropped, and where their vectors go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.index.cell_split import balance_cells, nearest


def line(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_the_nearest_centroid_is_that_of_the_least_distance() -> None:
    cells, scores = nearest(line(0, 4), line(1, 3, 2.5))
    assert cells.tolist() == [0, 1, 1]
    np.testing.assert_allclose(scores, [0.0, 4.0, 2.0])  # half of 1 - 1, 9 - 1, 6.25 - 2.25


def test_an_overfull_cell_becomes_two_and_a_neighbour_changes_cells() -> None:
    # The vector at 5 is nearer to 0 than to 10.6, but 8 is nearer still.
    centroids = line(0, 10.6, 30)
    vectors = np.concatenate(
        [np.zeros((80, 1)), line(5), np.full((150, 1), 8), np.full((150, 1), 12), [[30]]]
    )
    vectors = vectors.astype(np.float32)
    new, cells = balance_cells(centroids, vectors, nearest(centroids, vectors)[0], 127)
    assert sorted(new.ravel().tolist()) == [0, 8, 12]  # 30 had one vector, of 127
    assert new[cells].ravel().tolist() == [0] * 80 + [8] + [8] * 150 + [12] * 150 + [12]


def test_equal_vectors_stay_in_one_cell() -> None:
    centroids, vectors = line(0, 10), np.concatenate([np.zeros((5, 1)), np.full((300, 1), 10)])
    cells = np.repeat([0, 1], [5, 300])
    new, moved = balance_cells(
        centroids[1:], vectors[5:].astype(np.float32), np.zeros(300, dtype=np.int64), 100
    )
    assert (new.tolist(), moved.max()) == ([[10]], 0)
    new, moved = balance_cells(centroids, vectors.astype(np.float32), cells, 100)
    assert (new.tolist(), moved.tolist()) == ([[10]], [0] * 305)  # the cell of five is dropped


@pytest.mark.parametrize("sizes", [[100, 100], [50, 140, 60], [70, 7]])
def test_balanced_or_small_cells_are_left_as_they_are(sizes: list[int]) -> None:
    centroids, cells = line(*range(len(sizes))), np.repeat(np.arange(len(sizes)), sizes)
    vectors = centroids[cells] + np.linspace(-0.1, 0.1, len(cells), dtype=np.float32)[:, None]
    new, moved = balance_cells(centroids, vectors, cells, 70)
    np.testing.assert_array_equal(new, centroids)
    np.testing.assert_array_equal(moved, cells)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 900), st.floats(0, 3))
def test_vectors_in_their_nearest_cells_are_in_them_again(
    seed: int, num_cells: int, num_vectors: int, spread: float
) -> None:
    random = np.random.default_rng(seed)
    centroids = random.standard_normal((num_cells, 4), dtype=np.float32)
    vectors = random.standard_normal((num_vectors, 4), dtype=np.float32) * random.exponential(spread, (1, 4))
    vectors = vectors.astype(np.float32)
    before = centroids.copy(), nearest(centroids, vectors)[0]
    new, cells = balance_cells(centroids, vectors, before[1].copy(), num_vectors / num_cells)
    again = balance_cells(*before[:1], vectors, before[1], num_vectors / num_cells)
    np.testing.assert_array_equal(new, again[0])
    np.testing.assert_array_equal(cells, again[1])
    np.testing.assert_array_equal(centroids, before[0])
    own = np.linalg.norm(vectors - new[cells], axis=1)
    least = np.linalg.norm(vectors[:, None] - new[None], axis=2).min(axis=1)
    np.testing.assert_allclose(own, least, rtol=1e-3, atol=1e-3)
    sizes_before, sizes = np.bincount(before[1], minlength=num_cells), np.bincount(cells, minlength=len(new))
    if len(new) > len(centroids):
        assert sizes.max() < sizes_before.max() or sizes_before.max() <= 78
