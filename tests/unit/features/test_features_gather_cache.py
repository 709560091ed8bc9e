"""The rows that were gathered last are cached in training."""

import pandas as pd
import torch

from twotower.features.feature_table import FeatureTable
from twotower.features.id import Id
from twotower.features.text import HashedText

ROWS = torch.tensor([1, 3, 4])


def items() -> FeatureTable:
    table = pd.DataFrame({"item_id": list("abcd"), "title": ["red tea", "red", "tea", "red tea"]})
    features = {
        "item_id": Id.Config(column="item_id").build(4),
        "title": HashedText.Config(column="title", min_count=1, dim=4, char_ngrams=False).build(4),
    }
    return FeatureTable.fit(features, table, [1, 2, 3, 4], "items.csv")


def test_the_rows_of_the_previous_step_are_not_gathered_again() -> None:
    table = items()
    first, again = table.gather(ROWS), table.gather(ROWS)
    assert all(first[name] is again[name] for name in first)
    again.clear()
    assert table.gather(ROWS).keys() == first.keys()


def test_rows_that_changed_in_place_are_gathered_again() -> None:
    table, rows = items(), ROWS.clone()
    before = table.gather(rows)["item_id"].flatten().tolist()
    rows[2] = 2
    after = table.gather(rows)["item_id"].flatten().tolist()
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_replaced_values_are_gathered() -> None:
    table = items()
    table.gather(ROWS)
    table.encoded_item_id = torch.full_like(table.encoded_item_id, 7)
    assert table.gather(ROWS)["item_id"].flatten().tolist() == [7, 7, 7]


def test_rows_are_not_cached_in_evaluation() -> None:
    table = items().eval()
    assert table.gather(ROWS)["title"] is not table.gather(ROWS)["title"]


def test_a_catalogue_and_its_trained_part_are_both_planned_once() -> None:
    table = items()
    encoder = table.encoders()["title"]
    plans = []
    for _ in range(2):
        for values in (table.all_rows(), table.gather(ROWS)):
            encoder(values["title"])
        plans.append([plan for *_, plan in encoder._planned])
    assert all(one is other for one, other in zip(*plans, strict=True))
