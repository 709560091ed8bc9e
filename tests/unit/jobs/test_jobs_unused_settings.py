"""Features, columns and settings without effect are reported with what gives them one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from twotower.commands.compose import load_run_config
from twotower.commands.conf import choices
from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import RetrievalDataset
from twotower.jobs.run_config import RunConfig
from twotower.jobs.unused_settings import unused_setting_warnings
from twotower.model.features.feature_table import FeatureTable
from twotower.model.towers.two_tower import TwoTower

GIVEN = {"_target_": "twotower.data.splits.given.Given", "valid_share": 0.3}
DATA = ("data=synthetic", "data.num_interactions=2000", "data.num_users=100", "data.num_items=120")


def config_of(*overrides: str) -> RunConfig:
    return load_run_config([*DATA, *overrides])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RetrievalDataset:
    config = config_of()
    cache: Path = tmp_path_factory.mktemp("cache")
    return build_dataset(config.data.build(), config.split.build(), cache)


def test_towers_without_layers_name_the_features_that_they_do_not_read(dataset: RetrievalDataset) -> None:
    null = ("user_tower.widths=null", "item_tower.widths=null")
    assert unused_setting_warnings(config_of(), dataset) == []
    assert unused_setting_warnings(config_of(*null), dataset) == [
        "features.user.segment: no effect, because user_tower reads only history; "
        "user_tower.widths=[] reads all features",
        "features.item.price: no effect, because item_tower reads only item_id; "
        "item_tower.widths=[] reads all features",
        "features.item.category, features.item.tags, features.item.title, features.item.vector: affect only "
        "the embeddings of new items, because item_tower reads only item_id; "
        "item_tower.widths=[] reads all features",
    ]
    assert unused_setting_warnings(config_of("user_tower.widths=[8]", "item_tower.widths=[8]"), dataset) == []
    assert (
        "data: no feature reads the item columns category, price, tags, vector, so they do not change the "
        "embeddings; add them to features.item"
    ) in unused_setting_warnings(config_of("features=item_id", *null), dataset)


def test_features_that_new_items_read_equal_their_encoders(dataset: RetrievalDataset) -> None:
    config = config_of()
    rows = np.arange(1, len(dataset.items) + 1)
    features = {name: choice.build(config.tower_width) for name, choice in config.features.item.items()}
    items = FeatureTable.fit(features, dataset.item_table, rows, "items")
    users, trained = FeatureTable({}, {}, 100), torch.ones(len(rows) + 1, dtype=torch.bool)
    model = TwoTower(config, users, items, trained)
    assert config.new_items.reads(config.features.item) == set(model.new_items.content_encoders._modules)
    assert config_of("new_items=by_tower").new_items.reads(config.features.item) == frozenset()


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ("user_tower.dropout=0.2", "user_tower.dropout"),
        ("optimizer.schedule=constant optimizer.warmup_share=0.1", "optimizer.warmup_share"),
        ("objective=next_item objective.epoch_examples=100", "objective.epoch_examples"),
        ("data.label_noise=0.5", "data.label_noise"),
        (
            "loss=direct_au negatives=uniform item_bias=none new_items=by_tower user_tower.normalize=l2 "
            "item_tower.normalize=l2",
            "negatives",
        ),
        ("user_tower.widths=null history.last_item=true", "history.last_item"),
        (
            "history=none history.dropout=0.5 user_tower.widths=[8] user_tower.residual=null",
            "history.dropout",
        ),
        ("user_tower.widths=null user_tower.residual=segment", "history"),
        (
            "baselines=all_time ~baselines.popularity ~baselines.bought_before ~baselines.ease "
            "~baselines.item_knn ~baselines.content_knn baselines.minutes=3 "
            "baselines.tune=true",
            "baselines.minutes",
        ),
        ("features=item_id new_items.boost=0.5", "new_items.boost"),
        ("features=item_id new_items.max_known_loss=0.01", "new_items.max_known_loss"),
    ],
)
def test_a_setting_without_effect_is_named(dataset: RetrievalDataset, overrides: str, key: str) -> None:
    warnings = unused_setting_warnings(config_of(*overrides.split()), dataset)
    assert any(f"{key}: no effect" in warning for warning in warnings)


def test_settings_that_the_data_leaves_without_effect_are_named(dataset: RetrievalDataset) -> None:
    seen = config_of("metrics.filter_seen=false")
    assert unused_setting_warnings(seen, dataset) == []
    repeats = dataclasses.replace(dataset, repeats=True)
    assert unused_setting_warnings(seen, repeats) == [
        "metrics.filter_seen: no effect, because data.repeats=keep never excludes items of the history"
    ]
    settings = config_of().settings
    shares = RunConfig.composed(settings | {"split": GIVEN}, ["split.valid_share=0.3"])
    used = dataclasses.replace(dataset, audit=dataset.audit | {"valid_share_of_train": 0.3})
    assert unused_setting_warnings(shares, used) == []
    assert unused_setting_warnings(shares, dataset) == [
        "split.valid_share: no effect, because rows of the data are marked as valid"
    ]


@pytest.mark.parametrize("group", ["history", "objective", "optimizer", "trainer", "baselines"])
def test_no_choice_sets_keys_without_effect(dataset: RetrievalDataset, group: str) -> None:
    for name in choices(group):
        try:
            config = config_of(f"{group}={name}", "user_tower.widths=[8]", "item_tower.widths=[8]")
        except InputError:  # it needs other choices, which other tests compose
            continue
        assert unused_setting_warnings(config, dataset) == []


def test_a_schedule_has_no_effect_under_warm_start(dataset: RetrievalDataset) -> None:
    typed = ["optimizer.schedule=cosine"]
    settings = config_of(*typed).settings
    further = {"warm_start": {"run": "outputs/before", "epochs": 1, "replay": 0.1}}
    warnings = unused_setting_warnings(RunConfig.composed(settings | further, typed), dataset)
    assert (
        "optimizer.schedule: no effect; warm_start= trains at a constant optimizer.learning_rate" in warnings
    )
    assert not any("schedule" in warning for warning in unused_setting_warnings(config_of(*typed), dataset))
