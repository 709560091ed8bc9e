"""What is said of experiments, defaults and sweeps of the user's own that Hydra refuses in its words."""

from pathlib import Path

import pytest

from twotower.commands import conf
from twotower.commands.compose import checked
from twotower.config.errors import InputError

HEADER = "# @package _global_\n"
FILES = {
    "defaults:\n  - override /loss: bce\n": "its first line must be # @package _global_",
    "# A note.\n\nembedding_dim: 32\n": "its first line must be # @package _global_",
    f"# Mine.\n{HEADER}seed: 3\n": "its first line must be # @package _global_",
    f"{HEADER}defaults:\n  - override /loss: bcee\n": "Could not find 'loss/bcee'",
    f"{HEADER}defaults:\n  - /loss: bce\n": "Multiple values for loss. To override a value use 'override",
    f"{HEADER}defaults:\n  - override /los: bce\n": "Could not override 'los'. No match in the defaults list",
    f"{HEADER}loss: bce\n": "loss: expected a choice with a _target_, got 'bce'",
}
SOUND = f"\n{HEADER}# Mine.\ndefaults:\n  - override /loss: bce\n  - override /negatives: uniform\nseed: 3\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    for group in ("experiment", "local", "sweep"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    return tmp_path / "conf"


@pytest.mark.parametrize("text", FILES)
def test_a_message_names_the_file_and_the_fix(own: Path, text: str) -> None:
    (own / "experiment" / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        checked("train", ["data=synthetic", "experiment=mine"])
    assert FILES[text] in str(refused.value)


@pytest.mark.parametrize(("name", "typed"), [("experiment/mine", ["experiment=mine"]), ("local/default", [])])
def test_a_valid_file_is_read(own: Path, name: str, typed: list[str]) -> None:
    (own / f"{name}.yaml").write_text(SOUND)
    settings = checked("train", ["data=synthetic", *typed])
    assert settings["seed"] == 3
    assert settings["loss"]["_target_"] == "twotower.losses.bce.Bce"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("[32, 64]", "sweep.vary.embedding_dim: is a list; write `embedding_dim: 32,64`"),
        ("32", "sweep.vary.embedding_dim: is one value; write several with commas"),
    ],
)
def test_varied_settings_are_written_as_on_the_command_line(own: Path, values: str, told: str) -> None:
    file = own / "sweep" / "mine.yaml"
    file.write_text(f"_target_: twotower.sweeps.grid.Grid\nvary:\n  embedding_dim: {values}\n")
    with pytest.raises(InputError) as refused:
        checked("train", ["data=synthetic", "sweep=mine"])
    assert told in str(refused.value)
