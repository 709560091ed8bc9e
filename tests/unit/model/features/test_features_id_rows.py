"""Which ids have a row: frequent and recent ones, by hand."""

import numpy as np
import pandas as pd
import pytest

from twotower.config.choice_context import ChoiceContext
from twotower.data.interactions import Interactions
from twotower.data.sources.item_lists import ItemLists
from twotower.model.features.feature import Activity
from twotower.model.features.id import Id

DAY = 86_400
IDS = pd.Series([11, 12, 13, 14, 15])
ACTIVITY = Activity(np.array([1, 3, 2, 5, 2]), np.array([0.0, 1, 10, 31, 30]))


def fitted(**settings: float) -> Id:
    feature = Id(Id.Config(column="item_id", dim=4, **settings))
    feature.fit(feature.admit(IDS, ACTIVITY))
    return feature


@pytest.mark.parametrize(
    ("settings", "values", "rare_and_old"),
    [
        ({}, [11, 12, 13, 14, 15], None),
        ({"min_count": 3}, [12, 14], (3, 0)),
        ({"max_age_days": 30.0}, [11, 12, 13, 15], (0, 1)),  # 14 is 31 days old
        ({"min_count": 2, "max_age_days": 9.5}, [12], (1, 3)),  # 13, 14 and 15 are old, 11 is rare
    ],
)
def test_rare_and_old_ids_have_the_unknown_row(
    settings: dict[str, float], values: list[int], rare_and_old: tuple[int, int] | None
) -> None:
    feature = fitted(**settings)
    assert feature.state.values == values
    assert feature.encode(IDS).flatten().tolist() == [
        values.index(each) + 1 if each in values else 0 for each in IDS
    ]
    counts = dict(zip(("rare", "old"), rare_and_old, strict=True)) if rare_and_old else {}
    assert feature.removed == (counts and {**counts, "rows_given_back": 0})


def test_a_warm_start_gives_the_rows_of_old_ids_to_new_ones() -> None:
    parent, feature = fitted(min_count=2, max_age_days=30.0), fitted(min_count=2, max_age_days=30.0)
    assert parent.state.values == [12, 13, 15]
    # 12 is old, 13 is absent, 15 keeps its row though it is rare now, 16 and 18 are new, 17 is rare.
    ids = pd.Series([12, 15, 18, 17, 16])
    activity = Activity(np.array([9, 1, 2, 1, 3]), np.array([30.5, 4, 2, 0, 1]))
    feature.fit(feature.admit(ids, activity), grow=True)
    assert feature.state.values == [15, 16, 18]
    assert feature.removed == {"rare": 1, "old": 1, "rows_given_back": 2}
    assert feature.rows_in(parent).tolist() == [0, 3, 0, 0]
    assert feature.encode([12, 13, 15, 16, 17, 18]).flatten().tolist() == [0, 0, 1, 2, 0, 3]


def test_activity_counts_interactions_and_the_days_since_the_last_one() -> None:
    def log(*rows: tuple[int, int, int]) -> Interactions:
        users, items, days = np.array(rows).T
        return Interactions.from_rows(users, items, days * DAY, num_users=4)

    parts = [log((1, 2, 5), (1, 3, 9), (3, 2, 6)), log((3, 1, 7), (4, 2, 1))]
    users = Activity.measure(parts, np.array([1, 3, 4]), of_users=True)
    items = Activity.measure(parts, np.array([1, 2, 3]), of_users=False)
    assert users.counts.tolist() == [2, 2, 1]
    assert users.ages.tolist() == [0, 2, 8]  # the last interaction is on day 9
    assert items.counts.tolist() == [1, 3, 1]
    assert items.ages.tolist() == [2, 3, 0]


def test_data_without_times_has_no_ages() -> None:
    context = ChoiceContext({"data": ItemLists.Config(path="lists")}, "features.item.item_id")
    config = Id.Config(column="item_id", max_age_days=3.0)
    messages = dict(config.problems(context))
    assert "needs times, which this data does not have; set it to null" in messages["max_age_days"]
