"""Where item embeddings start from: what svd sets on logs small enough to follow by hand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch import Tensor

from twotower.data.history import History
from twotower.evaluation.baselines.ease import interaction_matrix
from twotower.features.feature_table import FeatureTable
from twotower.features.id import Id
from twotower.towers.two_tower import TwoTower
from twotower.towers.two_tower_config import TwoTowerConfig
from twotower.training.starts.random import Random
from twotower.training.starts.start import item_tables
from twotower.training.starts.svd import Svd, at_level_one, linear_autoencoder, own_score, peak


def log_of(items: Sequence[Sequence[int]]) -> History:
    """Return a log of users' item rows, users from row 1 on."""
    rows, users = (
        np.concatenate(items),
        np.repeat(np.arange(1, len(items) + 1), [len(each) for each in items]),
    )
    return History.of(users, rows, np.arange(len(rows)), num_users=len(items))


ITEMS = 20


def model() -> TwoTower:
    table = pd.DataFrame({"item_id": [f"i{row}" for row in range(1, ITEMS + 1)]})
    item_id = Id(Id.Config(column="item_id", dim=8))
    items = FeatureTable.fit({"item_id": item_id}, table, np.arange(1, ITEMS + 1), "items")
    block = {"_target_": "twotower.towers.single_block.SingleBlock"}
    settings = {
        "embedding_dim": 8,
        "history": {"_target_": "twotower.towers.history.mean_pooling.MeanPooling", "length": 9},
        "user_tower": block | {"block": "history"},
        "item_tower": block | {"block": "item_id"},
        "item_bias": {"_target_": "twotower.towers.item_bias.no_bias.NoBias"},
    }
    known = torch.arange(ITEMS + 1) > 0
    return TwoTowerConfig.of(settings).build_towers(FeatureTable({}, {}, 60), items, known)


def log() -> History:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 9, 60)
    return log_of([rng.choice(np.arange(1, ITEMS + 1), size, replace=False) for size in sizes])


def level_of(towers: TwoTower) -> float:
    """Return what users' own items score in the mean by the first table of item embeddings."""
    (table, places), *_ = item_tables(towers)
    return own_score(interaction_matrix(log(), np.arange(61), ITEMS), table[places].detach().numpy())


def test_own_items_are_scored_by_the_rest() -> None:
    taken = scipy.sparse.csr_array(np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=np.float32))
    embeddings = np.array([[1, 0], [2, 0], [0, 3]], dtype=np.float32)
    # The first user's by each other: 2 / sqrt(2) twice; the second's: 2, 2 and 0, over sqrt(3).
    expected = (2 * 2 / np.sqrt(2) + 2 * 2 / np.sqrt(3)) / 5
    assert own_score(taken, embeddings) == pytest.approx(expected)


def test_nobody_with_a_rest_scores_nothing() -> None:
    assert own_score(scipy.sparse.csr_array(np.eye(3, dtype=np.float32)), np.ones((3, 2), np.float32)) == 0


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_own_items_score_one_in_the_mean(power: float) -> None:
    taken = interaction_matrix(log(), np.arange(61), ITEMS).astype(np.float64)
    found = at_level_one(linear_autoencoder(taken, 8, 500), taken, power)
    assert own_score(taken, found) == pytest.approx(1, rel=1e-4)


def test_the_autoencoder_is_a_ridge_regression_cut_to_its_width() -> None:
    taken = interaction_matrix(log(), np.arange(61), ITEMS).astype(np.float64)
    gram = (taken.T @ taken).toarray()
    values, vectors = np.linalg.eigh(gram)
    best = vectors[:, -8:] * (values[-8:] / (values[-8:] + 5))
    found = linear_autoencoder(taken, 8, 5)
    np.testing.assert_allclose(found @ found.T, best @ vectors[:, -8:].T, atol=1e-8)
    whole = linear_autoencoder(taken, 40, 5)  # wider than the log has directions: one fewer, then zeros
    assert not whole[:, ITEMS - 1 :].any()
    ridge = np.linalg.solve(gram + 5 * np.eye(ITEMS), gram)
    assert np.abs(whole @ whole.T - ridge).max() < 0.1


def test_the_peak_lies_between_levels() -> None:
    assert peak([0.5, 1, 2, 4], [1, 3, 3, 1]) == pytest.approx(2**0.5)  # as far from 1 as from 2
    assert peak([0.5, 1, 2, 4], [0, 3, 2, 1]) == pytest.approx(2**0.25)  # 3 - 2 (x - 1/4)^2 + 1/8, x = log2
    assert peak([0.5, 1, 2, 4], [4, 3, 2, 1]) == 0.5
    assert peak([0.5, 1, 2, 4], [1, 2, 3, 4]) == 4
    assert peak([0.5, 1, 2, 4], [2, 2, 2, 2]) == 1


def test_a_level_is_chosen_and_holds_where_nothing_judges() -> None:
    start, towers, again, seen = Svd.Config(count_power=0.5).build(), model(), model(), []

    def judge() -> float:
        seen.append(level_of(towers))
        return -abs(np.log2(seen[-1]) - 0.5)  # best halfway between 1 and 2

    start.set(towers, log(), judge)
    assert seen == pytest.approx([0.5, 1, 2, 4], rel=1e-4)
    assert level_of(towers) == pytest.approx(2**0.5, rel=1e-4)
    start.set(again, log(), None)
    assert level_of(again) == pytest.approx(2**0.5, rel=1e-4)


def spread_of(towers: TwoTower) -> float:
    """Return how much longer the embedding of the most popular item is than that of the least popular."""
    (table, places), *_ = item_tables(towers)
    counts = interaction_matrix(log(), np.arange(61), ITEMS).sum(axis=0)
    lengths = table[places].detach().norm(dim=1).numpy()
    return float(lengths[counts.argmax()] / lengths[counts.argmin()])


@pytest.mark.parametrize("sign", [1, -1])  # of a metric that is better when low, a judge tells the negative
@pytest.mark.parametrize(("gain", "chosen"), [(0.04, 0.5), (0.06, 0.75)])
def test_the_power_of_sparse_logs_is_chosen_where_it_is_clearly_better(
    gain: float, chosen: float, sign: int
) -> None:
    start, towers, again, seen = Svd.Config().build(), model(), model(), []

    def judge() -> float:
        seen.append(spread_of(towers))
        return sign * (1 + sign * gain * (seen[-1] < 0.99 * seen[0]))

    start.set(towers, log(), judge)
    assert len(seen) == 4 + 2
    assert seen[:4] == pytest.approx(seen[4:5] * 4, rel=1e-4)  # levels with the usual power, which is first
    assert seen[5] < 0.99 * seen[4]
    expected = dict(zip((0.5, 0.75), seen[4:], strict=True))[chosen]
    assert spread_of(towers) == pytest.approx(expected, rel=1e-4)
    start.set(again, log(), None)
    assert spread_of(again) == pytest.approx(expected, rel=1e-4)


def test_what_is_set_is_not_judged() -> None:
    towers = model()
    Svd.Config(level=3, count_power=0.5).build().set(towers, log(), lambda: pytest.fail("judged"))
    assert level_of(towers) == pytest.approx(3, rel=1e-4)


def test_random_embeddings_are_scaled() -> None:
    def tables(scale: float) -> list[Tensor]:
        torch.manual_seed(0)
        towers = model()
        Random.Config(scale=scale).build().set(towers, log(), None)
        return [table.detach() for table, _ in item_tables(towers)]

    for small, drawn in zip(tables(0.25), tables(1), strict=True):
        assert drawn.std() > 0
        torch.testing.assert_close(small, drawn / 4)
