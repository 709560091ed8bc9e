"""`--cfg job`: all of it or a part, as typed or resolved, with what only Python has a default for."""

from pathlib import Path

import pytest
import yaml

from twotower.commands import conf
from twotower.commands.show import show, whole
from twotower.config.errors import InputError

DATA = "data=synthetic"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is printed for flags and overrides, these being the words with = in them."""
    capsys.readouterr()
    show("train", [word for word in words if "=" not in word], [word for word in words if "=" in word])
    return capsys.readouterr().out


def test_keys_without_yaml_follow_those_of_the_yaml() -> None:
    assert list(whole("train", [DATA, "loss=bce"]).loss.items()) == [
        ("_target_", "twotower.losses.bce.Bce"),
        ("temperature", 1.0),
        ("learned_temperature", False),
        ("negative_weight", 1.0),
    ]
    assert whole("train", [DATA]).features.context == {}


def test_parts_of_settings_are_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--cfg", "job", "--package", "loss", DATA, "loss=bce")
    assert text.startswith("# @package loss\n_target_: twotower.losses.bce.Bce\n")
    assert printed(capsys, "-c", "job", "-p", "loss", DATA, "loss=bce") == text
    assert printed(capsys, "-c", "job", "-p", "loss.learned_temperature", DATA, "loss=bce") == "false\n"
    assert printed(capsys, "-c", "job", "-p", "walkthrough", DATA) == "null\n"
    everything = printed(capsys, "-c", "job", DATA)
    assert printed(capsys, "-c", "job", "-p", "_global_", DATA) == everything
    with pytest.raises(InputError, match=r"--package los: no such part; did you mean 'loss'\?"):
        printed(capsys, "-c", "job", "-p", "los", DATA)
    with pytest.raises(InputError, match="-p: expected --cfg job"):
        printed(capsys, "-p", "loss", DATA)


def test_interpolations_are_shown_as_typed_or_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "local").mkdir()
    own = "# @package _global_\nitem_tower: ${user_tower}\nseed: ${embedding_dim}\n"
    (tmp_path / "local" / "default.yaml").write_text(own)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path,))
    as_typed = yaml.safe_load(printed(capsys, "-c", "job", DATA))
    assert (as_typed["item_tower"], as_typed["seed"]) == ("${user_tower}", "${embedding_dim}")
    resolved = yaml.safe_load(printed(capsys, "-c", "job", "--resolve", DATA))
    assert (resolved["item_tower"], resolved["seed"]) == (as_typed["user_tower"], 64)
    assert resolved["item_tower"]["activation"] == "gelu"


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
