"""What makes two runs the same, and two trainings: each key of the root has its place, and says so here."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import load_settings
from twotower.commands.conf import shape
from twotower.experiments.runs.fingerprint import (
    DEFAULT_MONITOR,
    configuration_fingerprint,
    fingerprint,
    flatten,
    training_settings,
    unstated_defaults,
)
from twotower.experiments.runs.sections import identity
from twotower.training.trainer import TrainerChoice

SHAPE_TOWERS = {
    "data",
    "split",
    "features",
    "history",
    "user_tower",
    "item_tower",
    "item_bias",
    "objective",
    "negatives",
    "loss",
    "initialization",
    "optimizer",
    "trainer",
    "new_items",
    "embedding_dim",
    "seed",
}
SHAPE_FIGURES = {"index", "metrics", "baselines", "benchmark", "test"}
SHAPE_NOTHING = {
    "name",
    "note",
    "output_root",
    "console",
    "debug",
    "reuse",
    "cache",
    "tracker",
}
DATA = "data fingerprint"
Settings = dict[str, Any]


@pytest.fixture(scope="module")
def settings() -> Settings:
    """A run's, of every key that train.yaml has."""
    found = load_settings("train", ["data=founding_model"])
    found["benchmark"] = {"name": "mine"}  # one would fix the data
    return {key: value for key, value in found.items() if key not in SWEEP_ONLY}


def changed(settings: Mapping[str, Any], key: str) -> Settings:
    """Return settings with another value of a root key."""
    value = settings[key]
    if isinstance(value, dict):
        return {**settings, key: {**value, "changed": 1}}
    return {**settings, key: not value if isinstance(value, bool) else value * 2 or "x"}


def test_every_root_key_is_classified(settings: Settings) -> None:
    groups, keys = shape("train")
    assert SHAPE_TOWERS | SHAPE_FIGURES | SHAPE_NOTHING == (groups | keys) - SWEEP_ONLY == settings.keys()


@pytest.mark.parametrize("key", sorted(SHAPE_TOWERS | SHAPE_FIGURES | SHAPE_NOTHING))
def test_fingerprints_change_with_the_keys_that_they_cover(settings: Settings, key: str) -> None:
    other = changed(settings, key)
    assert (training_settings(other) != training_settings(settings)) == (key in SHAPE_TOWERS)
    shapes_figures = key in SHAPE_TOWERS | SHAPE_FIGURES
    assert (fingerprint(other, DATA) != fingerprint(settings, DATA)) == shapes_figures
    is_configuration = shapes_figures and key != "seed"
    before, after = (configuration_fingerprint(each, DATA) for each in (settings, other))
    assert (before != after) == is_configuration


def test_other_data_changes_the_fingerprints(settings: Settings) -> None:
    assert fingerprint(settings, DATA) != fingerprint(settings, "other data")
    assert configuration_fingerprint(settings, DATA) != configuration_fingerprint(settings, "other data")
    before, after = (identity(settings, data, []) for data in (DATA, "other data"))
    assert before["training_fingerprint"] != after["training_fingerprint"]
    assert before["training_fingerprint"] == identity(settings, DATA, ["typed=x"])["training_fingerprint"]


def test_the_order_of_keys_does_not_matter(settings: Settings) -> None:
    turned = dict(reversed(settings.items()))
    turned["loss"] = dict(reversed(settings["loss"].items()))
    assert list(turned) != list(settings)
    assert fingerprint(turned, DATA) == fingerprint(settings, DATA)
    assert training_settings(turned) == training_settings(settings)


@pytest.mark.parametrize("key", ["log_every_steps", "checkpoint_every_steps", "progress_bar"])
def test_reporting_keys_of_the_trainer_leave_the_training_fingerprint(settings: Settings, key: str) -> None:
    assert key in TrainerChoice.Config.model_fields
    other = {**settings, "trainer": {**settings["trainer"], key: 7}}
    assert training_settings(other) == training_settings(settings)


@pytest.mark.parametrize(
    ("group", "key"),
    [
        ("data", "interactions_path"),
        *(("trainer", key) for key in ("log_every_steps", "checkpoint_every_steps", "progress_bar")),
    ],
)
def test_names_of_files_and_reporting_are_not_part_of_a_configuration(
    settings: Settings, group: str, key: str
) -> None:
    other = {**settings, group: {**settings[group], key: 7}}
    assert configuration_fingerprint(other, DATA) == configuration_fingerprint(settings, DATA)


def with_metrics(settings: Settings, **changes: Any) -> Settings:
    return {**settings, "metrics": {**settings["metrics"], **changes}}


def test_only_the_monitored_metric_is_part_of_the_training_fingerprint(settings: Settings) -> None:
    kinds = settings["metrics"]["kinds"]
    recall = {"recall": kinds["recall"]}
    others = {name: spec for name, spec in kinds.items() if name != "recall"}
    assert DEFAULT_MONITOR == "valid/recall_at_20"
    assert training_settings(settings)["monitored"] == [kinds["recall"]]
    assert training_settings(with_metrics(settings, kinds=recall)) == training_settings(settings)
    assert training_settings(with_metrics(settings, kinds=others)) != training_settings(settings)
    ndcg = {**settings, "trainer": {**settings["trainer"], "monitor": "valid/ndcg_at_10"}}
    assert training_settings(ndcg)["monitored"] == [kinds["ndcg"]]
    assert training_settings(ndcg) != training_settings(settings)


@pytest.mark.parametrize("change", [{"ks": [20]}, {"num_bootstrap": 7}])
def test_the_extent_of_the_evaluation_leaves_the_training_fingerprint(
    settings: Settings, change: dict[str, Any]
) -> None:
    other = with_metrics(settings, **change)
    assert other != settings
    assert training_settings(other) == training_settings(settings)
    assert fingerprint(other, DATA) != fingerprint(settings, DATA)


def test_filter_seen_changes_the_training_fingerprint(settings: Settings) -> None:
    filtered, unfiltered = (with_metrics(settings, filter_seen=each) for each in (True, False))
    assert training_settings(filtered) != training_settings(unfiltered)
    del filtered["metrics"]["filter_seen"]
    assert training_settings(filtered) == training_settings(
        with_metrics(settings, filter_seen=True)
    )  # the default


def test_flattened_settings_are_complete() -> None:
    nested = {
        "loss": {"_target_": "twotower.model.losses.bce.Bce", "temperature": 0.5, "extra": {}},
        "ks": [5, 10],
        "seed": 1,
        "debug": False,
        "none": None,
        "features": {"item": {"price": {"_target_": "a.Numeric", "bins": 3}}},
    }
    assert flatten(nested) == {
        "loss": "Bce",
        "loss.temperature": 0.5,
        "loss.extra": "{}",
        "ks": "[5, 10]",
        "seed": 1,
        "debug": False,
        "none": "null",
        "features.item.price": "Numeric",
        "features.item.price.bins": 3,
    }


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
trees = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)),
    max_size=3,
)


@given(trees, trees)
def test_equal_fingerprints_imply_equal_settings(one: Settings, other: Settings) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one, DATA) == fingerprint(other, DATA)) == same


def test_defaults_of_classes_have_dotted_keys() -> None:
    loss = {"_target_": "twotower.model.losses.bpr.Bpr", "temperature": 0.5}
    ease = {"_target_": "twotower.evaluation.baselines.ease.Ease", "regularization": 7}
    index = {"_target_": "twotower.index.kinds.flat_ip.FlatIP"}
    found = unstated_defaults(
        {"loss": loss, "baselines": {"ease": ease}, "index": index, "embedding_dim": 64}
    )
    assert "loss.temperature" not in found  # stated
    assert found["baselines.ease.max_items"] == 20_000
    assert "baselines.ease.regularization" not in found
    assert not any(key.startswith("index.num_subquantizers") for key in found)


def test_missing_classes_and_other_classes_have_no_defaults() -> None:
    gone, other = {"_target_": "mine.Loss"}, {"_target_": "twotower.config.errors.InputError"}
    assert unstated_defaults({"loss": gone, "index": other, "name": "default"}) == {}
