"""Who wins: train.yaml, a choice, an experiment or the command line; and `--cfg job`, as typed."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from twotower.commands import conf
from twotower.commands.compose import compose, compose_with_defaults, load_settings
from twotower.commands.conf import CONF
from twotower.commands.overrides import validate_overrides
from twotower.config.errors import InputError

DATA = "data=synthetic"


def test_composed_settings_are_plain_values() -> None:
    def assert_plain(values: object) -> None:
        assert type(values) in (dict, list, str, int, float, bool, type(None))
        if isinstance(values, dict):
            assert all(isinstance(key, str) for key in values)
            for value in values.values():
                assert_plain(value)
        if isinstance(values, list):
            for value in values:
                assert_plain(value)

    settings = compose("train")
    assert_plain(settings)
    assert "hydra" not in settings


def test_composition_leaves_no_global_state() -> None:
    assert compose("train", ["seed=7"])["seed"] == 7
    assert compose("train")["seed"] == 42
    assert load_settings("train", ["loss=bce"])["loss"] != load_settings("train", [])["loss"]


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_built_in_experiments_override_train_yaml_but_not_the_command_line(path: Path) -> None:
    assert compose("train", [f"experiment={path.stem}"])["name"] == path.stem
    assert compose("train", [f"experiment={path.stem}", "name=mine"])["name"] == "mine"


def test_values_are_set_as_hydra_sets_them() -> None:
    """`++key=value` is set on a selection of choices that is composed once."""
    typed = ["loss=bce", "embedding_dim=16", "loss.temperature=0.5", "metrics.ks=[5]", "baselines.ease=null"]
    _, valid_overrides = validate_overrides(typed)
    assert [text[:2] for text in valid_overrides[1:]] == ["++"] * 4
    assert compose("train", valid_overrides) == compose("train", typed)
    assert compose("train", ["loss=bce"])["embedding_dim"] == 64


def test_keys_that_only_python_has_a_default_for_can_be_set() -> None:
    settings = load_settings("train", ["history.dropout=0.25", "trainer.refit=false"])
    assert settings["history"]["dropout"] == 0.25


def test_a_default_can_be_deleted() -> None:
    assert "ease" not in load_settings("train", ["~baselines.ease"])["baselines"]
    none = ["sweep=null", "experiment=null"]
    assert load_settings("train", none).items() <= load_settings("train", []).items()


def test_an_error_of_composition_is_an_input_error() -> None:
    with pytest.raises(InputError, match="'nowhere' not found"):
        compose("train", ["name=${nowhere}"])
    with pytest.raises(InputError, match="no_such"):
        compose("train", ["+no_such=choice", "++loss@no_such=x"])


def test_keys_without_yaml_follow_those_of_the_yaml() -> None:
    assert list(compose_with_defaults("train", [DATA, "loss=bce"]).loss.items()) == [
        ("_target_", "twotower.model.losses.bce.Bce"),
        ("temperature", 1.0),
        ("learned_temperature", False),
        ("negative_weight", 1.0),
    ]
    assert compose_with_defaults("train", [DATA]).features.context == {}


def test_interpolations_are_shown_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    own = "# @package _global_\nitem_tower: ${user_tower}\nseed: ${embedding_dim}\n"
    (tmp_path / "local" / "default.yaml").write_text(own)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path,))
    as_typed = yaml.safe_load(OmegaConf.to_yaml(compose_with_defaults("train", [DATA])))
    assert (as_typed["item_tower"], as_typed["seed"]) == ("${user_tower}", "${embedding_dim}")


def test_invalid_values_are_shown_as_typed_with_the_others() -> None:
    config = compose_with_defaults("train", [DATA, "loss=bce", "++loss.temperature=hot", "++embeding_dim=3"])
    assert config.loss == {"_target_": "twotower.model.losses.bce.Bce", "temperature": "hot"}
    assert config.embeding_dim == 3
    assert config.negatives.keys() >= {"max_items"}


def test_nothing_is_imported_for_a_run_that_is_not_trusted(tmp_path: Path) -> None:
    stranger = {"index": {"_target_": "unittest.__main__.X"}}  # ends the process that imports it
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stranger))
    with pytest.raises(InputError, match=r"names 'unittest\.__main__\.X' as _target_"):
        compose_with_defaults("reindex", [f"run={tmp_path}"])
    with pytest.raises(InputError, match="run: "):
        compose_with_defaults("reindex", [f"run={tmp_path / 'nowhere'}"])
