from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation_logs import make_history, make_holdout
from pydantic import ValidationError

from twotower.config.choice_context import ChoiceContext
from twotower.config.errors import InputError
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.item_content import has_content, metric_data
from twotower.model.features.id import Id
from twotower.model.features.tags import Tags

KINDS: dict[str, dict[str, Any]] = {
    "recall": {"_target_": "twotower.evaluation.metrics.recall.Recall"},
    "ndcg": {"_target_": "twotower.evaluation.metrics.ndcg.Ndcg"},
    "hits": {"_target_": "twotower.evaluation.metrics.hit_rate.HitRate"},
    "coverage": {"_target_": "twotower.evaluation.metrics.coverage.Coverage"},
}
POPULARITY = np.array([0, 5, 3, 2, 0])


def make(**arguments: Any) -> Evaluator:
    return Evaluator.Config(**{"ks": [2, 1], "kinds": KINDS, "num_bootstrap": 100, **arguments}).build()


def test_report_by_hand() -> None:
    holdout, lists = make_holdout(targets=[[2, 4], [3]], histories=[[1], []]), np.array([[2, 3], [1, 3]])
    report = make().evaluate(lists, holdout, POPULARITY)
    assert report.per_user["user"].tolist() == [1, 2]
    assert report.per_user["recall_at_1"].tolist() == [1.0, 0.0]
    assert report.per_user["recall_at_2"].tolist() == [0.5, 1.0]
    assert report.metrics["recall_at_2"] == 0.75
    assert report.metrics["coverage_at_2"] == 3 / 4
    assert (report.num_users, report.num_targets) == (2, 3)
    assert list(report.metrics) == make().config.keys()
    assert make().means_and_values(lists, holdout, POPULARITY)[0] == report.metrics
    assert set(report.intervals) == {key for key in report.metrics if "coverage" not in key}
    low, high = report.intervals["recall_at_2"]
    assert 0.5 <= low <= 0.75 <= high <= 1.0
    assert make(num_bootstrap=0).evaluate(lists, holdout, POPULARITY).intervals == {}
    slices = report.slices
    cold = {"recall_at_1": 0, "recall_at_2": 0, "hit_rate_at_1": 0, "hit_rate_at_2": 0}
    assert slices["item_cold"]["cold"] == {**cold, "num_users": 1, "num_targets": 1}
    assert slices["item_cold"]["warm"]["recall_at_2"] == 1.0
    assert slices["item_cold"]["warm"]["num_users"] == 2
    # half of ten interactions: item 1 is the head, item 2 the mid; nobody has a target in the head
    assert set(slices["item_popularity"]) == {"mid", "tail"}
    assert slices["item_popularity"]["tail"]["recall_at_2"] == 0.5
    assert set(slices["user_activity"]) == {"cold", "low"}
    assert slices["user_activity"]["cold"]["recall_at_2"] == 1.0
    assert slices["user_activity"]["low"]["num_targets"] == 2
    assert "ndcg_at_2" in slices["user_activity"]["low"]


def test_keys_and_max_k_are_known_before_anything_runs() -> None:
    assert make().max_k == 2
    assert make().config.keys()[:3] == ["recall_at_1", "recall_at_2", "ndcg_at_1"]
    assert list(make().config.problems(ChoiceContext(num_items=1))) == [
        ("ks", "2 is above the 1 items of the catalogue; use k <= 1")
    ]
    assert list(make().config.problems(ChoiceContext(num_items=2))) == list(make().config.problems()) == []


def test_seen_filter_is_a_setting() -> None:
    holdout = make_holdout(targets=[[2]], histories=[[1, 3]])
    excluded = make().excluded(holdout)
    assert excluded is not None
    assert excluded[1].tolist() == [1, 3]
    assert make(filter_seen=False).excluded(holdout) is None


@pytest.mark.parametrize(
    "arguments", [{"ks": []}, {"kinds": {}}, {"kinds": {**KINDS, "again": KINDS["recall"]}}]
)
def test_empty_or_double_choices_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"at least 1 item|'recall' is listed twice"):
        make(**arguments)


def make_dataset() -> Any:
    """Three items of two features; users 1 and 2 have items 1 and 2 in training, item 3 is new."""
    items = pd.DataFrame({"item_id": ["a", "b", "c"], "tags": ["x", "x y", "y"]})
    train = make_history([[1, 2], [1]])
    users = pd.DataFrame({"user_id": [5, 6], "sex": ["f", "m"]})
    return SimpleNamespace(items=items, item_table=items, user_table=users, train=train, source_paths={})


ITEM_ID = Id.Config(column="item_id", dim=2)


def test_item_vectors_of_a_data_set() -> None:
    data = metric_data(
        make_dataset(), {"tags": Tags.Config(column="tags", dim=4, separator=" "), "own": ITEM_ID}
    )
    embeddings = data.vectors["embeddings"]()  # items of users {1, 2}, {1} and none
    half = np.sqrt(0.5)
    expected = [[1, half, 0], [half, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose((embeddings @ embeddings.T).toarray(), expected, atol=1e-6)
    content = data.vectors["content"]()
    cosines = (content @ content.T).toarray()
    assert cosines[0, 2] == 0  # nothing in common
    assert 0 < cosines[0, 1] < 1
    assert data.vectors["content"]() is content  # computed once
    assert has_content({"own": ITEM_ID, "tags": Tags.Config(column="tags", dim=4)})
    assert not has_content({"own": ITEM_ID})


def test_the_vector_of_a_single_item() -> None:
    data = make_dataset()
    data.items, data.train = data.items[:1], make_history([[1], []])
    data.item_table = data.items
    assert metric_data(data, {}).vectors["embeddings"]().shape[0] == 1


def test_vectors_of_a_matrix_of_low_rank_are_the_same_every_time() -> None:
    data, groups = make_dataset(), np.arange(60).reshape(6, 10)
    data.items = pd.DataFrame({"item_id": range(60)})
    data.train = make_history([groups[user % 6] + 1 for user in range(100)])
    first, again = (metric_data(data, {}).vectors["embeddings"]().toarray() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first @ first.T, np.kron(np.eye(6), np.ones((10, 10))), atol=1e-6)


def test_groups_are_slices_and_what_the_data_lacks_is_refused() -> None:
    gap = {"_target_": "twotower.evaluation.metrics.user_gap.UserGap", "min_users": 1}
    config = Evaluator.Config(ks=[1], kinds={"gap": gap | {"by": "sex"}}, num_bootstrap=0)
    holdout, lists = make_holdout(targets=[[2], [3]], histories=[[1], []]), np.array([[2], [1]])
    report = config.build(metric_data(make_dataset(), {})).evaluate(lists, holdout, POPULARITY)
    assert report.metrics == {"user_gap_at_1": 1.0}
    alone = config.build(metric_data(make_dataset(), {})).only("user_gap_at_1")
    assert alone.means_and_values(lists, holdout, POPULARITY)[0] == report.metrics
    assert report.slices["user_sex"] == {"f": {"user_gap_at_1": 1.0}, "m": {"user_gap_at_1": 0.0}}
    exposure = {"_target_": "twotower.evaluation.metrics.exposure_gap.ExposureGap", "by": "price"}
    kinds = {"gap": gap | {"by": "sexe"}, "exposure": exposure}
    wrong = Evaluator.Config(ks=[1], kinds=kinds, num_bootstrap=0)
    with pytest.raises(InputError) as caught:
        wrong.build(metric_data(make_dataset(), {"own": ITEM_ID}))
    assert "metrics.kinds.gap.by: there is no column 'sexe'; did you mean 'sex'?" in str(caught.value)
    assert "metrics.kinds.exposure.by: there is no column 'price'" in str(caught.value)
