"""Memory and parameters of a training are reported before it starts; expected sizes are computed by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_towers_two_tower import two_tower

from twotower.config import memory
from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.training import parts
from twotower.training.optimizers.adagrad import Adagrad
from twotower.training.optimizers.adamw import AdamW
from twotower.training.optimizers.rowwise_adagrad import RowwiseAdagrad
from twotower.training.parts import build_batches, check_weights
from twotower.training.training_config import TrainingConfig

LINEAR = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": []}
SETTINGS: dict[str, Any] = {
    "seed": 1,
    "embedding_dim": 4,
    "history": {"_target_": "twotower.model.towers.history.mean_pooling.MeanPooling", "length": 10},
    "user_tower": LINEAR,
    "item_tower": LINEAR,
    "item_bias": {"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"},
    "features": {"user": {}, "item": {}},
    "negatives": {"_target_": "twotower.model.negatives.catalogue.Catalogue"},
    "loss": {"_target_": "twotower.model.losses.bce.Bce"},
    "optimizer": {"_target_": "twotower.training.optimizers.adamw.AdamW"},
    "trainer": {"_target_": "twotower.training.trainer.TrainerChoice"},
    "objective": {"_target_": "twotower.training.objectives.next_item.NextItem", "batch_size": 4},
}

CONFIG = TrainingConfig.from_settings(SETTINGS)


def limit(monkeypatch: pytest.MonkeyPatch, usable: int) -> None:
    monkeypatch.setattr(memory, "usable_bytes", lambda: usable)


def test_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([1, 2, 3])
    users = FeatureTable.fit({}, pd.DataFrame({"user_id": [1, 2, 3]}), rows, "users")
    table = pd.DataFrame({"item_id": ["a", "b", "c"]})
    items = FeatureTable.fit({"item_id": Id(Id.Config(column="item_id", dim=5))}, table, rows, "items")
    # the history's table (3 + 1) x 4, the user tower 8 x 4 + 4, ids (3 + 1) x 5, the item tower 5 x 4 + 4
    number = 16 + 36 + 20 + 24
    limit(monkeypatch, number * 16)
    check_weights(CONFIG, users, items)
    limit(monkeypatch, number * 16 - 1)
    with pytest.raises(
        InputError, match=r"^embedding_dim, .*: 96 weights take about .*; make them narrower$"
    ):
        check_weights(CONFIG, users, items)


def test_weights_of_a_sparse_table_count_with_the_state_of_its_optimizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.array([1, 2, 3])
    users = FeatureTable.fit({}, pd.DataFrame({"user_id": [1, 2, 3]}), rows, "users")
    table = pd.DataFrame({"item_id": ["a", "b", "c"]})
    item_id = Id(Id.Config(column="item_id", dim=5, sparse=True))
    items = FeatureTable.fit({"item_id": item_id}, table, rows, "items")
    for optimizer, per_weight in ((RowwiseAdagrad.Config(), 4), (Adagrad.Config(), 8), (AdamW.Config(), 12)):
        config = CONFIG.model_copy(update={"optimizer": optimizer})
        number = (16 + 36 + 24) * 16 + 20 * per_weight
        limit(monkeypatch, number)
        check_weights(config, users, items)
        limit(monkeypatch, number - 1)
        with pytest.raises(InputError, match="96 weights"):
            check_weights(config, users, items)


def test_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones(5, int)
    log = Interactions.from_rows(ones, ones, np.arange(5), num_users=1)
    limit(monkeypatch, 4 * 10 * 56)
    assert len(build_batches(CONFIG, log)) == 2
    limit(monkeypatch, 4 * 10 * 56 - 1)
    told = r"^objective\.batch_size, history\.length: the histories of a batch, 4 of 10 items, take about "
    with pytest.raises(InputError, match=told):
        build_batches(CONFIG, log)
    # no batch is larger than there are examples
    large = SETTINGS | {"objective": SETTINGS["objective"] | {"batch_size": 1_000_000}}
    limit(monkeypatch, 5 * 10 * 56)
    assert len(build_batches(TrainingConfig.from_settings(large), log)) == 1


def test_settings_that_would_make_large_tables_sparse_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dense = two_tower(items="table")  # 4 items and the unknown one, of which 3 are trained on; 3 countries
    names = dict(parts.dense_tables(dense))
    assert names == {
        "features.user.country.sparse": 3,
        "features.item.item_id.sparse": 4,
        "history.sparse": 5,
    }
    parts.warn_of_large_tables(dense)
    assert not caplog.messages
    monkeypatch.setattr(parts, "LARGE_TABLE", 4)
    parts.warn_of_large_tables(two_tower(items="table", sparse=True))
    parts.warn_of_large_tables(dense)
    assert [each.partition("; ")[2].partition(" updates")[0] for each in caplog.messages] == [
        "features.item.item_id.sparse=true",
        "features.item.item_id.sparse=true history.sparse=true",
    ]
