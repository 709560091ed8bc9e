"""`--cfg job`: as typed, with what only Python has a default for."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from twotower.commands import conf
from twotower.commands.compose import whole
from twotower.config.errors import InputError

DATA = "data=synthetic"


def test_keys_without_yaml_follow_those_of_the_yaml() -> None:
    assert list(whole("train", [DATA, "loss=bce"]).loss.items()) == [
        ("_target_", "twotower.losses.bce.Bce"),
        ("temperature", 1.0),
        ("learned_temperature", False),
        ("negative_weight", 1.0),
    ]
    assert whole("train", [DATA]).features.context == {}


def test_interpolations_are_shown_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    own = "# @package _global_\nitem_tower: ${user_tower}\nseed: ${embedding_dim}\n"
    (tmp_path / "local" / "default.yaml").write_text(own)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path,))
    as_typed = yaml.safe_load(OmegaConf.to_yaml(whole("train", [DATA])))
    assert (as_typed["item_tower"], as_typed["seed"]) == ("${user_tower}", "${embedding_dim}")


def test_invalid_values_are_shown_as_typed_with_the_others() -> None:
    config = whole("train", [DATA, "loss=bce", "++loss.temperature=hot", "++embeding_dim=3"])
    assert config.loss == {"_target_": "twotower.losses.bce.Bce", "temperature": "hot"}
    assert config.embeding_dim == 3
    assert config.negatives.keys() >= {"max_items"}


def test_nothing_is_imported_for_a_run_that_is_not_trusted(tmp_path: Path) -> None:
    stranger = {"index": {"_target_": "unittest.__main__.X"}}  # ends the process that imports it
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stranger))
    with pytest.raises(InputError, match=r"names 'unittest\.__main__\.X' as _target_"):
        whole("reindex", [f"run={tmp_path}"])
    with pytest.raises(InputError, match="run: "):
        whole("reindex", [f"run={tmp_path / 'nowhere'}"])
