"""Who wins: train.yaml, a choice, an experiment or the command line."""

from pathlib import Path

import pytest

from twotower.commands import conf
from twotower.commands.compose import checked, compose
from twotower.commands.conf import CONF
from twotower.commands.overrides import validate_overrides
from twotower.config.errors import InputError


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
    assert checked("train", ["loss=bce"])["loss"] != checked("train", [])["loss"]


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An experiment of our own, and the overrides that choose it."""
    folder = tmp_path / "experiment"
    folder.mkdir()
    text = (
        "# @package _global_\n"
        "defaults: [{override /loss: bce}]\n"
        "embedding_dim: 48\nname: mine\nloss: {temperature: 0.3}\n"
    )
    (folder / "mine.yaml").write_text(text)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path,))
    return ["experiment=mine"]


def test_an_experiment_overrides_train_yaml(experiment: list[str]) -> None:
    settings = compose("train", experiment)
    assert settings["embedding_dim"] == 48  # a root value, which a wrong place of _self_ would lose
    assert settings["name"] == "mine"
    assert settings["loss"] == {"_target_": "twotower.losses.bce.Bce", "temperature": 0.3}


def test_the_command_line_overrides_an_experiment(experiment: list[str]) -> None:
    settings = compose("train", [*experiment, "embedding_dim=16", "loss.temperature=0.5"])
    assert settings["embedding_dim"] == 16
    assert settings["loss"]["temperature"] == 0.5
    _, sound = validate_overrides(["embedding_dim=16", "loss.temperature=0.5"])
    assert compose("train", [*experiment, *sound]) == settings


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_built_in_experiments_override_train_yaml_but_not_the_command_line(path: Path) -> None:
    assert compose("train", [f"experiment={path.stem}"])["name"] == path.stem
    assert compose("train", [f"experiment={path.stem}", "name=mine"])["name"] == "mine"


def test_features_follow_the_data() -> None:
    synthetic = compose("train", ["data=synthetic"])["features"]
    assert synthetic == compose("train", ["data=synthetic", "features=synthetic"])["features"]
    assert synthetic != compose("train")["features"]


def test_keys_that_only_python_has_a_default_for_can_be_set() -> None:
    settings = checked("train", ["history.dropout=0.25", "trainer.refit=false"])
    assert settings["history"]["dropout"] == 0.25


def test_a_default_can_be_deleted() -> None:
    assert "ease" not in checked("train", ["~baselines.ease"])["baselines"]
    none = ["sweep=null", "walkthrough=null", "experiment=null"]
    assert checked("train", none).items() <= checked("train", []).items()


def test_an_error_of_composition_is_an_input_error() -> None:
    with pytest.raises(InputError, match="'nowhere' not found"):
        compose("train", ["name=${nowhere}"])
    with pytest.raises(InputError, match="no_such"):
        compose("train", ["+no_such=choice", "++loss@no_such=x"])
