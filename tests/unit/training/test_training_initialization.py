"""Where item embeddings start from: what svd sets on logs small enough to follow by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch import Tensor

from twotower.data.interactions import Interactions
from twotower.evaluation.item_content import truncated_svd
from twotower.evaluation.ranking import interaction_matrix
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig
from twotower.training.initialization.initialization import item_tables
from twotower.training.initialization.random import Random
from twotower.training.initialization.svd import (
    Svd,
    best_score_scale,
    mean_own_score,
    search_score_scales,
)


def log_of(items: Sequence[Sequence[int]]) -> Interactions:
    """Return a log of users' item rows, users from row 1 on."""
    rows, users = (
        np.concatenate(items),
        np.repeat(np.arange(1, len(items) + 1), [len(each) for each in items]),
    )
    return Interactions.from_rows(users, rows, np.arange(len(rows)), num_users=len(items))


ITEMS = 20
POOLING = {"_target_": "twotower.model.towers.history.mean_pooling.MeanPooling"}


def model(history: Mapping[str, Any] = POOLING) -> TwoTower:
    table = pd.DataFrame({"item_id": [f"i{row}" for row in range(1, ITEMS + 1)]})
    item_id = Id(Id.Config(column="item_id", dim=8))
    items = FeatureTable.fit({"item_id": item_id}, table, np.arange(1, ITEMS + 1), "items")
    block = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": None, "normalize": "none"}
    settings = {
        "embedding_dim": 8,
        "history": {**history, "length": 9},
        "user_tower": block | {"residual": "history"},
        "item_tower": block | {"residual": "item_id"},
        "item_bias": {"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"},
    }
    known = torch.arange(ITEMS + 1) > 0
    return TwoTower(TwoTowerConfig.from_settings(settings), FeatureTable({}, {}, 60), items, known)


def log() -> Interactions:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 9, 60)
    return log_of([rng.choice(np.arange(1, ITEMS + 1), size, replace=False) for size in sizes])


def scale_of(towers: TwoTower) -> float:
    """Return what users' own items score in the mean by the first table of item embeddings."""
    (table, places), *_ = item_tables(towers)
    return mean_own_score(interaction_matrix(log(), np.arange(61), ITEMS), table[places].detach().numpy())


def test_own_items_are_scored_by_the_rest() -> None:
    taken = scipy.sparse.csr_array(np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=np.float32))
    embeddings = np.array([[1, 0], [2, 0], [0, 3]], dtype=np.float32)
    # The first user's by each other: 2 / sqrt(2) twice; the second's: 2, 2 and 0, over sqrt(3).
    expected = (2 * 2 / np.sqrt(2) + 2 * 2 / np.sqrt(3)) / 5
    assert mean_own_score(taken, embeddings) == pytest.approx(expected)


@pytest.mark.parametrize("count_power", [0.0, 0.5])
def test_own_items_score_one_in_the_mean(count_power: float) -> None:
    found = Svd.Config(count_power=count_power).build().embeddings(log(), ITEMS, 8)
    assert mean_own_score(interaction_matrix(log(), np.arange(61), ITEMS), found) == pytest.approx(
        1, rel=1e-4
    )


def test_members_of_an_ensemble_have_equal_embeddings_and_the_scores_of_one() -> None:
    start = Svd.Config(score_scale=1.0).build()
    assert isinstance(start, Svd)
    towers = model({"_target_": "twotower.model.towers.history.gru.Gru", "members": 2})
    start.set(towers, log(), None)
    (table, places), *_ = item_tables(towers)
    found = table[places].detach()
    assert torch.equal(found[:, :4], found[:, 4:])
    of_one = torch.from_numpy(start.embeddings(log(), ITEMS, 4))
    torch.testing.assert_close(found @ found.T, of_one @ of_one.T)


def test_the_best_scale_may_lie_between_two() -> None:
    def best(*scores: float) -> float:
        return best_score_scale(dict(zip((0.5, 1, 2, 4), scores, strict=True)))

    assert best(1, 3, 3, 1) == pytest.approx(2**0.5)  # as far from 1 as from 2
    assert best(0, 3, 2, 1) == pytest.approx(2**0.25)  # vertex of 3 - 2 (x - 1/4)^2
    assert best(4, 3, 2, 1) == 0.5
    assert best(1, 2, 3, 4) == 4
    assert best(2, 2, 2, 2) == 1


def test_a_scale_is_selected_once_and_used_without_validation() -> None:
    start, towers, again, seen = Svd.Config().build(), model(), model(), []

    def validation_score() -> float:
        seen.append(scale_of(towers))
        return -abs(np.log2(seen[-1]) - 0.5)  # best halfway between 1 and 2

    start.set(towers, log(), validation_score)
    assert seen == pytest.approx([0.5, 1, 2, 4], rel=1e-4)
    assert scale_of(towers) == pytest.approx(2**0.5, rel=1e-4)
    assert start.chosen() == {"score_scale": pytest.approx(2**0.5)}
    start.set(again, log(), None)
    assert scale_of(again) == pytest.approx(2**0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (1.1, [0.5, 1, 2, 4]),
        (16, [0.5, 1, 2, 4, 8, 16, 32]),
        (0.25, [0.125, 0.25, 0.5, 1, 2, 4]),
        (1e9, [0.5, 1, 2, 4, 8, 16, 32, 64, 128]),
        (1e-9, [2.0**power for power in range(-6, 3)]),
    ],
)
def test_scales_are_extended_until_the_best_is_inside(best: float, tried: list[float]) -> None:
    scores = search_score_scales(lambda scale: -abs(np.log2(scale / best)))
    assert list(scores) == tried
    assert list(scores.values()) == pytest.approx([-abs(np.log2(scale / best)) for scale in tried])


def test_a_scale_at_the_edge_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    start, towers = Svd.Config().build(), model()
    start.set(towers, log(), lambda: scale_of(towers))
    assert start.chosen() == {"score_scale": 128}
    assert (
        "initialization.score_scale=128 has the best validation score and is the lowest or highest value "
        "tried, 0.5 to 128" in caplog.text
    )


def test_a_set_scale_is_not_validated() -> None:
    towers = model()
    start = Svd.Config(score_scale=3).build()
    start.set(towers, log(), lambda: pytest.fail("validated"))
    assert start.chosen() == {}
    assert scale_of(towers) == pytest.approx(3, rel=1e-4)


def test_random_embeddings_are_scaled() -> None:
    def tables(scale: float) -> list[Tensor]:
        torch.manual_seed(0)
        towers = model()
        Random.Config(scale=scale).build().set(towers, log(), None)
        return [table.detach() for table, _ in item_tables(towers)]

    for small, drawn in zip(tables(0.25), tables(1), strict=True):
        assert drawn.std() > 0
        torch.testing.assert_close(small, drawn / 4)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_a_truncated_svd_has_the_largest_singular_values_and_their_vectors(shape: tuple[int, int]) -> None:
    dense = (np.random.default_rng(0).random(shape) < 0.3).astype(float)
    values, vectors = truncated_svd(scipy.sparse.csr_array(dense), 10)
    _, expected, rows = np.linalg.svd(dense)
    assert np.allclose(values[::-1], expected[:10])
    assert np.allclose(np.abs(vectors[::-1]), np.abs(rows[:10]))


def test_a_truncated_svd_beyond_the_rank_of_a_matrix_is_the_same_every_time() -> None:
    dense = np.zeros((120, 60))
    dense[:, :40] = np.random.default_rng(1).random((120, 40)) < 0.2
    matrix = scipy.sparse.csr_array(dense)
    (values, vectors), (_, again) = truncated_svd(matrix, 59), truncated_svd(matrix, 59)
    assert np.array_equal(vectors, again)
    assert np.allclose(values[:19], 0, atol=1e-6)
