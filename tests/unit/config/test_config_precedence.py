"""Who wins: a choice, train.yaml, conf/local/default.yaml, an experiment, the command line: the last one.

And the choices of the user's own, and what is said of those that Hydra refuses in its words.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from twotower.commands import compose, overrides
from twotower.commands import conf as files
from twotower.commands.compose import load_settings
from twotower.commands.conf import CONF, choices
from twotower.commands.run_command import run_command
from twotower.config.errors import InputError

LOSSES = {path.stem for path in (CONF / "loss").glob("*.yaml")}
GLOBAL = "# @package _global_\n"
FILES = {
    "defaults:\n  - override /loss: bce": "{file}: its first line must be # @package _global_",
    "# A note.\n\nembedding_dim: 32": "{file}: its first line must be # @package _global_",
    f"# Mine.\n{GLOBAL}seed: 3": "{file}: its first line must be # @package _global_",
    f"{GLOBAL}defaults:\n  - override /loss: bcee": "/loss: bcee: unknown choice 'bcee'; did you mean 'bce'?",
    f"{GLOBAL}defaults:\n  - override /los: bce": "{file}: defaults: override /los: bce: unknown group; did",
    f"{GLOBAL}defaults:\n  - /loss: bce": "{file}: defaults: /loss: bce: write - override /loss: bce",
    f"{GLOBAL}defaults:\n  - loss: bce": "{file}: defaults: loss: bce: write - override /loss: bce",
    f"{GLOBAL}defaults:\n  - override loss: bce": "override loss: bce: write - override /loss: bce",
    f"{GLOBAL}defaults:\n  - loss=bce": "{file}: defaults: loss=bce: write - override /loss: bce",
    f"{GLOBAL}defaults:\n  loss: bce": "Invalid defaults list in 'experiment/mine'",
    f"{GLOBAL}defaults:\n  - override /loss: empty": "_target_, got {{'temperature': 0.1}}; set in ",
    f"{GLOBAL}loss: bce": "loss: expected a choice with a _target_, got 'bce'; set in {file}",
    f"{GLOBAL}learning_rate: 0.01": "rate: unknown key; write optimizer.learning_rate=0.01; set in {file}",
    f"{GLOBAL}loss:\n  temperature: hot": "expected a valid number, got 'hot'; set in {file}",
    f"{GLOBAL}loss: null": "loss: expected a choice with a _target_, got None; set in {file}",
    f"{GLOBAL}seed: ${{no}}": "seed: Interpolation key 'no' not found; write the value itself, or an ex",
    f"{GLOBAL}optimizer.learning_rate: 0.01": "{file}: optimizer.learning_rate: keys of a file have no dots",
    f"{GLOBAL}embedding_dim = 32": "embedding_dim = 32: unknown key; did you mean 'embedding_dim'?",
    f"{GLOBAL}embedding_dim: [16, 32]": "write -m embedding_dim=16,32; set in {file}",
    f"{GLOBAL}- loss": "{file}: expected key: value, got ['loss']",
    f"{GLOBAL}loss:\n\ttemperature: 1": "{file}: line 3: not YAML",
}
"""Text of an experiment -> the message."""
SOUND = f"\n{GLOBAL}# Mine.\ndefaults:\n  - override /loss: bce\n  - override /negatives: uniform\nseed: 3\n"
MINE = """# twotower train loss=mine
# A loss of my own.
_target_: twotower.model.losses.bce.Bce
temperature: 0.7
"""


class Conf:
    """A copy of `conf/` to write into."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def write(self, name: str, text: str) -> None:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def of(self, *overrides: str) -> dict[str, Any]:
        """As a command composes them."""
        return load_settings("train", overrides)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conf:
    place = tmp_path / "conf"
    shutil.copytree(CONF, place, ignore=shutil.ignore_patterns("local"))
    monkeypatch.setattr(files, "CONF", place)
    for module in (files, overrides, compose):
        monkeypatch.setattr(module, "LOCAL", place / "local")
    monkeypatch.setattr(files, "OTHERS", (tmp_path / "theirs",))
    return Conf(place)


def test_later_sources_override_keys_of_choices(conf: Conf) -> None:
    def temperature(*overrides: str) -> Any:
        return conf.of(*overrides)["loss"]["temperature"]

    conf.write("loss/power_softmax.yaml", f"_target_: {conf.of()['loss']['_target_']}\ntemperature: 0.11\n")
    assert temperature() == 0.11
    train = (conf.place / "train.yaml").read_text()
    conf.write("train.yaml", f"{train}\nloss: {{temperature: 0.22}}\n")
    assert temperature() == 0.22
    conf.write("local/default.yaml", f"{GLOBAL}loss: {{temperature: 0.33}}\n")
    assert temperature() == 0.33
    conf.write("experiment/mine.yaml", f"{GLOBAL}loss: {{temperature: 0.44}}\n")
    assert temperature("experiment=mine") == 0.44
    assert temperature("experiment=mine", "loss.temperature=0.55") == 0.55
    assert temperature("loss.temperature=0.55") == 0.55
    assert temperature() == 0.33


def test_later_sources_override_root_keys(conf: Conf) -> None:
    keys = (conf.place / "run_keys.yaml").read_text()
    assert "name: default\n" in keys
    conf.write("run_keys.yaml", keys.replace("name: default\n", "name: run_keys\n"))
    assert conf.of()["name"] == "run_keys"
    conf.write("local/default.yaml", f"{GLOBAL}name: local\nseed: 1\nconsole: jsonl\n")
    assert [conf.of()[key] for key in ("name", "seed", "console")] == ["local", 1, "jsonl"]
    conf.write("experiment/mine.yaml", f"{GLOBAL}name: experiment\nseed: 2\n")
    found = conf.of("experiment=mine", "name=typed")
    assert [found[key] for key in ("name", "seed", "console")] == ["typed", 2, "jsonl"]


def test_later_sources_override_choices_of_groups(conf: Conf) -> None:
    def optimizer(*overrides: str) -> str:
        return str(conf.of(*overrides)["optimizer"]["_target_"]).rpartition(".")[2]

    assert optimizer() == "AdamW"
    conf.write("local/default.yaml", f"{GLOBAL}defaults: [{{override /optimizer: adagrad}}]\n")
    assert optimizer() == "Adagrad"
    conf.write("experiment/mine.yaml", f"{GLOBAL}defaults: [{{override /optimizer: adamw}}]\n")
    assert optimizer("experiment=mine") == "AdamW"
    assert optimizer("experiment=mine", "optimizer=adagrad") == "Adagrad"
    assert optimizer("optimizer=adamw") == "AdamW"


def test_another_file_of_user_defaults_can_be_chosen(conf: Conf) -> None:
    conf.write("local/default.yaml", f"{GLOBAL}seed: 1\n")
    conf.write("local/laptop.yaml", f"{GLOBAL}seed: 2\n")
    assert conf.of()["seed"] == 1
    assert conf.of("local=laptop")["seed"] == 2
    with pytest.raises(InputError, match=r"local: unknown choice 'lapdog'; did you mean 'laptop'\?"):
        conf.of("local=lapdog")


def test_mistakes_in_user_defaults_are_reported_as_on_the_command_line(conf: Conf) -> None:
    conf.write("local/default.yaml", f"{GLOBAL}embeding_dim: 32\nseed: x\nloss: {{temprature: 1}}\n")
    with pytest.raises(InputError, match="3 mistakes in the configuration") as refused:
        conf.of()
    for told in ("embeding_dim: unknown key; did you mean 'embedding_dim'?", "seed: ", "loss.temprature: "):
        assert f"\n  {told}" in str(refused.value)


def test_a_user_choice_is_selected_like_a_built_in_one(conf: Conf) -> None:
    conf.write("local/loss/mine.yaml", MINE)
    assert conf.of("loss=mine")["loss"] == {"_target_": "twotower.model.losses.bce.Bce", "temperature": 0.7}
    assert conf.of("loss=mine", "loss.temperature=0.9")["loss"]["temperature"] == 0.9
    conf.write("local/default.yaml", f"{GLOBAL}defaults: [{{override /loss: mine}}]\n")
    assert conf.of()["loss"]["temperature"] == 0.7


def test_user_data_select_their_features(conf: Conf, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n1,2,3\n")
    data = (conf.place / "data" / "table_files.yaml").read_text().split("_target_")[1].split("\n")[0]
    conf.write("local/data/shop.yaml", f"_target_{data}\ninteractions_path: {tmp_path}/log.csv\n")
    features = (conf.place / "features" / "table_files.yaml").read_text()
    conf.write("local/features/shop.yaml", features)
    assert conf.of("data=shop")["features"] == conf.of("data=shop", "features=table_files")["features"]
    (conf.place / "local" / "features" / "shop.yaml").unlink()
    with pytest.raises(InputError, match="features/shop"):
        conf.of("data=shop")


def printed(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as left:
        run_command("train", lambda settings, overrides: 1, "words")
    assert left.value.code == 0
    return capsys.readouterr().out


def test_user_choices_are_listed_with_built_in_ones(
    conf: Conf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf.write("local/loss/mine.yaml", MINE)
    assert choices("loss")["mine"] == conf.place / "local" / "loss" / "mine.yaml"
    listed = printed(["--info", "choices"], monkeypatch, capsys)
    section = listed.split("\nloss\n")[1].split("\n\n")[0]
    assert "   mine              A loss of my own." in section.splitlines()
    offered = " ".join(printed(["--help"], monkeypatch, capsys).split())  # long lists are wrapped
    assert f" loss {', '.join(sorted([*LOSSES, 'mine']))} [power_softmax]" in offered


def test_a_user_file_overrides_a_built_in_file_of_the_same_name(conf: Conf) -> None:
    own = conf.place.parent / "theirs"
    assert conf.of("loss=bce")["loss"]["temperature"] == 1.0
    conf.write("local/loss/bce.yaml", MINE)
    assert conf.of("loss=bce")["loss"]["temperature"] == 0.7
    conf.write("../theirs/loss/bce.yaml", MINE.replace("0.7", "0.8"))
    assert conf.of("loss=bce")["loss"]["temperature"] == 0.8
    assert choices("loss")["bce"] == own / "loss" / "bce.yaml"
    conf.write("../theirs/local/default.yaml", f"{GLOBAL}seed: 5\n")
    assert conf.of()["seed"] == 5


def test_user_files_named_like_a_command_are_refused(conf: Conf) -> None:
    conf.write("../theirs/train.yaml", "model: theirs\n")  # of another project that Hydra configures
    with pytest.raises(InputError, match=r"theirs/train.yaml: is the name of a file of ours; rename it"):
        conf.of()


def test_mistakes_in_user_files_are_reported_with_the_line(conf: Conf) -> None:
    conf.write("../theirs/loss/bce.yaml", "_target_: [a\n  b: c\n")
    with pytest.raises(InputError, match=r"theirs/loss/bce.yaml: line 2: not YAML"):
        conf.of("loss=bce")


def test_a_missing_folder_of_choices_is_reported(conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    conf.of()
    monkeypatch.setenv("TWOTOWER_CONF", str(files.OTHERS[0]))
    with pytest.raises(InputError, match="TWOTOWER_CONF: there is no folder"):
        conf.of()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "OTHERS", (tmp_path / "conf",))
    for group in ("experiment", "local", "sweep"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    return tmp_path / "conf"


@pytest.mark.parametrize(("name", "typed"), [("experiment/mine", ["experiment=mine"]), ("local/default", [])])
def test_a_valid_file_is_read(own: Path, name: str, typed: list[str]) -> None:
    (own / f"{name}.yaml").write_text(SOUND)
    settings = load_settings("train", ["data=synthetic", *typed])
    assert settings["seed"] == 3
    assert settings["loss"]["_target_"] == "twotower.model.losses.bce.Bce"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("[32, 64]", "sweep.vary.embedding_dim: is a list; write `embedding_dim: 32,64`"),
        ("32", "sweep.vary.embedding_dim: is one value; write several with commas"),
    ],
)
def test_varied_settings_are_written_as_on_the_command_line(own: Path, values: str, told: str) -> None:
    file = own / "sweep" / "mine.yaml"
    file.write_text(f"_target_: twotower.experiments.sweeps.grid.Grid\nvary:\n  embedding_dim: {values}\n")
    with pytest.raises(InputError) as refused:
        load_settings("train", ["data=synthetic", "sweep=mine"])
    assert told in str(refused.value)


@pytest.mark.parametrize("text", FILES)
def test_a_mistake_in_an_experiment_names_the_file_and_what_to_write(own: Path, text: str) -> None:
    (own / "experiment" / "mine.yaml").write_text(f"{text}\n")
    (own / "loss").mkdir()
    (own / "loss" / "empty.yaml").write_text("temperature: 0.1\n")
    with pytest.raises(InputError, match=r"^1 mistake in the configuration") as refused:
        load_settings("train", ["data=synthetic", "experiment=mine"])
    assert FILES[text].format(file=own / "experiment" / "mine.yaml") in str(refused.value)
