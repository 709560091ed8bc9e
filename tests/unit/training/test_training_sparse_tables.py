"""Large tables that every step goes through are told, with the settings that mend it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "towers"))
from test_towers_two_tower import two_tower

from twotower.training import sparse_tables


def test_settings_that_would_make_large_tables_sparse_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dense = two_tower(items="table")  # 4 items and the unknown one, of which 3 are trained on; 3 countries
    names = dict(sparse_tables.dense_tables(dense))
    assert names == {
        "features.user.country.sparse": 3,
        "features.item.item_id.sparse": 4,
        "history.sparse": 5,
    }
    sparse_tables.warn_of_large_tables(dense)
    assert not caplog.messages
    monkeypatch.setattr(sparse_tables, "LARGE", 4)
    sparse_tables.warn_of_large_tables(two_tower(items="table", sparse=True))
    sparse_tables.warn_of_large_tables(dense)
    assert [each.partition("; ")[2].partition(" updates")[0] for each in caplog.messages] == [
        "features.item.item_id.sparse=true",
        "features.item.item_id.sparse=true history.sparse=true",
    ]
