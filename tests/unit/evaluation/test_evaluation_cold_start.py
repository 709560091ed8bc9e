"""Cold start by hand: five items on a plane, of which two come after the training."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_logs import make_history, make_holdout
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from twotower.data.dataset import RetrievalDataset
from twotower.data.vocabulary import Vocabulary
from twotower.evaluation.cold_start import (
    cold_start,
    content_scorer,
    embed_new_items,
    expected_recalls,
    live_index,
)
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.item_content import item_content
from twotower.index.auto import Auto
from twotower.index.kinds.flat_ip import FlatIP
from twotower.model.features.categorical import Categorical
from twotower.model.features.feature import Feature
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.features.numeric import Numeric
from twotower.model.features.tags import Tags
from twotower.model.features.vector import Vector
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig

FLAT = FlatIP.Config()
KINDS = {"recall": {"_target_": "twotower.evaluation.metrics.recall.Recall"}}
BLOCK = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": None, "normalize": "none"}
PLACES = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.2], [0.9, 0.3], [0.1, 0.8]]
HISTORIES = [[1], [2], [1, 2], [3]]
ITEMS = pd.DataFrame({"item_id": list("abcde"), "place": PLACES})


def world(bias: str = "no_bias.NoBias") -> tuple[TwoTower, RetrievalDataset]:
    """Towers that give items their place and users the mean of their items' places."""
    features: dict[str, Feature] = {
        "own": Id(Id.Config(column="item_id", dim=2)),
        "place": Vector(Vector.Config(column="place")),
    }
    known = np.array([1, 2, 3])
    items = FeatureTable.fit(features, ITEMS, known, "items")
    users = pd.DataFrame({"user_id": [1, 2, 3, 4]})
    settings: dict[str, Any] = {
        "embedding_dim": 2 + (bias != "no_bias.NoBias"),
        "history": {
            "_target_": "twotower.model.towers.history.mean_pooling.MeanPooling",
            "items": "tower",
            "last_item": False,
        },
        "user_tower": BLOCK | {"residual": "history"},
        "item_tower": BLOCK | {"residual": "place"},
        "item_bias": {"_target_": f"twotower.model.towers.item_bias.{bias}"},
    }
    trained = torch.tensor([False, True, True, True, False, False])
    model = TwoTower(TwoTowerConfig.from_settings(settings), FeatureTable({}, {}, 4), items, trained)
    log = make_history(HISTORIES)
    model.item_bias.initialize(log)
    test = make_holdout(targets=[[4, 2], [4, 3], [3]], histories=HISTORIES)
    dataset = RetrievalDataset(
        user_table=users,
        item_table=ITEMS,
        item_label=None,
        users=Vocabulary.fit(users["user_id"]),
        items=Vocabulary.fit(ITEMS["item_id"]),
        train=log,
        train_and_valid=log,
        valid=make_holdout(targets=[[3]], histories=HISTORIES),
        open_test=lambda: test,
        audit={"held_out_items": 2},
        fingerprint="data",
    )
    return model.eval(), dataset


def evaluator(**arguments: Any) -> Evaluator:
    return Evaluator.Config(**{"ks": [1, 2], "kinds": KINDS, "num_bootstrap": 100, **arguments}).build()


def figures(at_1: float, at_2: float) -> dict[str, Any]:
    return {"recall_at_1": pytest.approx(at_1), "recall_at_2": pytest.approx(at_2)}


def test_cold_warm_and_all_by_hand() -> None:
    model, dataset = world()
    found = cold_start(model, FLAT, dataset, evaluator())
    # The towers' lists, by dot product: d c e b, e d c a, d c e.
    assert found["model"]["cold"] == figures(1 / 2, 1)
    assert found["model"]["warm"] == figures(0, 1 / 3)
    assert found["model"]["all"] == figures(1 / 3, 2 / 3)
    # By cosine: c d e b, e d c a, d c e.
    assert found["content"]["cold"] == figures(0, 1)
    assert found["content"]["warm"] == figures(0, 1 / 3)
    assert found["content"]["all"] == figures(0, 2 / 3)
    # The first two users choose among four items, the third among three.
    assert found["random"]["cold"] == figures(1 / 4, 2 / 4)
    assert found["random"]["warm"] == figures((1 / 4 + 1 / 4 + 1 / 3) / 3, (2 / 4 + 2 / 4 + 2 / 3) / 3)
    assert found["random"]["all"] == figures((2 / 4 + 2 / 4 + 1 / 3) / 3, (2 / 4 + 2 / 4 + 2 / 3) / 3)
    # d e, e d for the first two; c b, c a, c.
    for who in ("model", "content", "random"):
        assert found[who]["cold_alone"] == figures(1 / 2, 1)
        assert found[who]["warm_alone"] == figures(2 / 3, 1)
    assert found["num_cold_items"] == 2
    assert found["num_users"] == {"cold": 2, "warm": 3, "all": 3, "cold_alone": 2, "warm_alone": 3}
    assert found["num_targets"] == {"cold": 2, "warm": 3, "all": 5, "cold_alone": 2, "warm_alone": 3}
    assert found["intervals"]["model"]["cold"] == {"recall_at_1": [0, 1], "recall_at_2": [1, 1]}
    assert set(found["intervals"]) == {"model", "content"}


def test_a_repeated_item_counts_once_for_content() -> None:
    holdout = make_holdout(targets=[[3], [3]], histories=[[1, 1, 2], []])
    scores = content_scorer(sparse.csr_array(np.eye(3, dtype=np.float32)), holdout)(slice(0, 2))
    assert scores.tolist() == [[1.0, 1.0, 0.0], [-np.inf] * 3]


def test_without_the_seen_filter_own_items_take_places() -> None:
    model, dataset = world()
    found = cold_start(model, FLAT, dataset, evaluator(filter_seen=False, num_bootstrap=0))
    # a d, b e, d c: user 1 has d at place 2, user 2 not; everybody chooses among five.
    assert found["model"]["cold"] == figures(0, 1 / 2)
    assert found["random"]["cold"] == figures(1 / 5, 2 / 5)
    assert found["intervals"] == {"model": {}, "content": {}}


def test_a_part_without_targets_is_left_out() -> None:
    model, dataset = world()
    dataset = RetrievalDataset(**vars(dataset) | {"open_test": lambda: make_holdout([[3]], HISTORIES)})
    found = cold_start(model, FLAT, dataset, evaluator())
    for key in ("model", "random", "num_users"):
        assert set(found[key]) == {"warm", "all", "warm_alone"}


@pytest.mark.parametrize("bias", ["no_bias.NoBias", "recent_popularity.RecentPopularity"])
def test_items_put_in_live_equal_their_rows_since_training_gave_them_no_id(bias: str) -> None:
    model, dataset = world(bias)
    by_row = model.encode_items(torch.tensor([4, 5])).detach().numpy()
    np.testing.assert_array_equal(embed_new_items(model, dataset.item_table.iloc[3:]), by_row)


def test_the_index_is_built_without_the_cold_items(monkeypatch: pytest.MonkeyPatch) -> None:
    model, dataset = world()
    built, build = [], FlatIP.build

    def watched(self: FlatIP, vectors: np.ndarray, rows: np.ndarray) -> None:
        built.append(rows.tolist())
        build(self, vectors, rows)

    monkeypatch.setattr(FlatIP, "build", watched)
    index, vectors = live_index(model, FLAT, dataset, np.array([4, 5]))
    assert built == [[1, 2, 3]]
    assert index.rows.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(vectors, PLACES)


def test_an_index_with_a_limit_on_the_loss_of_targets_is_built_without_it() -> None:
    model, dataset = world()
    index, _ = live_index(model, Auto.Config(max_label_loss=0.1), dataset, np.array([4, 5]))
    assert index.rows.tolist() == [1, 2, 3, 4, 5]


@given(
    left=st.integers(1, 7),
    relevant=st.integers(1, 4),
    k=st.integers(1, 4),
)
def test_chance_is_the_mean_over_all_draws(left: int, relevant: int, k: int) -> None:
    relevant = min(relevant, left)
    found = expected_recalls(np.array([left]), np.array([relevant]), [k])[f"recall_at_{k}"]
    draws = [set(drawn) for drawn in combinations(range(1, left + 1), min(k, left))]
    hits = [len(drawn & set(range(1, relevant + 1))) / min(k, relevant) for drawn in draws]
    assert found.tolist() == [pytest.approx(np.mean(hits))]


def test_content_is_tf_idf_of_tags_and_categories_without_the_id() -> None:
    table = pd.DataFrame(
        {
            "item_id": [1, 2, 3, 4],
            "tags": [["x", "y"], ["x"], ["y", "z"], ["z", "new"]],
            "price": [1, 2, 3, 9],
        }
    )
    features: dict[str, Feature] = {
        "own": Id(Id.Config(column="item_id", dim=2)),
        "tags": Tags(Tags.Config(column="tags", dim=2)),
        "price": Numeric(Numeric.Config(column="price")),
    }
    known = np.array([True, True, True, False])
    content = item_content(FeatureTable.fit(features, table, np.array([1, 2, 3]), "items"), known)
    assert content is not None
    # Of three known items two have x, two y, one z; the tag that only the cold item has is not known.
    twice, once = 1 + np.log(4 / 3), 1 + np.log(4 / 2)
    x, y, z = np.array([twice, twice, 0]), np.array([twice, 0, once]), np.array([0, 0, 1])
    expected = [x / np.linalg.norm(x), [1, 0, 0], np.array([0, y[0], y[2]]) / np.linalg.norm(y), z]
    np.testing.assert_allclose(content.toarray()[:, 1:], expected)


def test_numbers_count_where_there_is_nothing_else_and_ids_never() -> None:
    table = pd.DataFrame({"item_id": [1, 2, 3], "price": [1.0, 3.0, 5.0]})
    features: dict[str, Feature] = {"price": Numeric(Numeric.Config(column="price"))}
    known = np.array([True, True, False])
    content = item_content(FeatureTable.fit(features, table, np.array([1, 2]), "items"), known)
    assert content is not None
    np.testing.assert_allclose(content.toarray(), [[-1, 0], [1, 0], [1, 0]])
    ids: dict[str, Feature] = {"own": Id(Id.Config(column="item_id", dim=2))}
    assert item_content(FeatureTable.fit(ids, table, np.array([1, 2]), "items"), known) is None


def test_each_kind_of_content_weighs_the_same() -> None:
    table = pd.DataFrame({"item_id": [1, 2], "kind": ["p", "q"], "place": [[3.0, 4.0], [6.0, 8.0]]})
    features: dict[str, Feature] = {
        "kind": Categorical(Categorical.Config(column="kind", dim=2)),
        "place": Vector(Vector.Config(column="place")),
    }
    content = item_content(FeatureTable.fit(features, table, np.array([1, 2]), "i"), np.array([True, True]))
    assert content is not None
    np.testing.assert_allclose((content @ content.T).toarray(), [[1, 0.5], [0.5, 1]], rtol=1e-6)
