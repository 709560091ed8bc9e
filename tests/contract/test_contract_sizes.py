"""The dial `size`: sizes suit all choices, `medium` changes nothing, and what is set elsewhere wins."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from twotower.commands import conf, size
from twotower.commands.compose import load_settings
from twotower.commands.conf import CONF, SIZE, choices, groups, read_yaml
from twotower.commands.overrides import parse_axis, validate_overrides
from twotower.config.errors import InputError
from twotower.experiments.runs.fingerprint import flatten

HISTORIES = sorted(path.stem for path in (CONF / "history").glob("*.yaml"))
CHANGING = sorted(path.stem for path in (CONF / SIZE).glob("*.yaml") if read_yaml(path))
BESIDE = {"none": ["user_tower.residual=null", "user_tower.widths=[8]"]}
SEQUENCES = ["history=sasrec", "objective=sequence"]


@pytest.fixture(autouse=True)
def _forget_lines() -> None:
    size._warn_once.cache_clear()


def changed(*overrides: str) -> dict[str, Any]:
    """Key -> value of the settings that `size=` changes."""
    others = [text for text in overrides if not text.startswith("size=")]
    before, after = (flatten(load_settings("train", texts)) for texts in (others, overrides))
    assert after.keys() >= before.keys()
    return {key: value for key, value in after.items() if before.get(key) != value}


def test_medium_is_the_default_and_sets_nothing() -> None:
    assert conf.groups_of("train")[SIZE] == "medium"
    assert read_yaml(choices(SIZE)["medium"]) == {}
    assert CHANGING == ["large", "small"]
    assert load_settings("train", ["size=medium"]) == load_settings("train", [])
    assert SIZE not in load_settings("train", ["size=small"])
    assert SIZE not in groups()


@pytest.mark.parametrize(("name", "history"), [*itertools.product(CHANGING, HISTORIES)])
def test_every_size_suits_every_history_encoder(
    name: str, history: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = flatten(read_yaml(choices(SIZE)[name]))
    found = changed(f"size={name}", f"history={history}", *BESIDE.get(history, []))
    without = sets.keys() - found.keys()
    assert found.keys() <= sets.keys()
    assert without <= {"history.blocks"}
    line = f"warning: size={name}: no effect on history.blocks (no such key in the chosen class)\n"
    has_blocks = "blocks" in read_yaml(choices("history")[history])
    assert capsys.readouterr().err == ("" if has_blocks else line)
    assert has_blocks or without


def test_factors_multiply_the_value_of_the_choice() -> None:
    for choice in ("objective=sequence history=sasrec", "optimizer=adagrad", "trainer=smoke"):
        texts = choice.split()
        before, after = (flatten(load_settings("train", [*texts, *more])) for more in ([], ["size=small"]))
        assert after["objective.batch_size"] == before["objective.batch_size"] // 2
        assert after["optimizer.learning_rate"] == pytest.approx(1.5 * before["optimizer.learning_rate"])
        assert after["trainer.max_epochs"] == max(1, before["trainer.max_epochs"] // 4)


def test_single_keys_override_a_size_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = changed("size=large", *SEQUENCES, "embedding_dim=48", "optimizer.learning_rate=0.01")
    assert found.keys() == {"history.blocks", "objective.batch_size", "trainer.max_epochs"}
    line = "warning: size=large: no effect on embedding_dim, optimizer.learning_rate (overridden)\n"
    assert capsys.readouterr().err == line


def test_an_experiment_overrides_a_size_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "log.txt").write_text("1 2\n")
    typed = ["size=large", "experiment=ml_1m_sasrec", f"data.path={tmp_path}/log.txt"]
    assert changed(*typed) == {"optimizer.learning_rate": 0.0005}
    keys = "embedding_dim, history.blocks, objective.batch_size, trainer.max_epochs"
    assert capsys.readouterr().err == f"warning: size=large: no effect on {keys} (overridden)\n"
    assert changed(*typed, "optimizer.learning_rate=0.002") == {}
    assert capsys.readouterr().err.startswith("warning: size=large: no effect: embedding_dim, ")


def test_a_size_of_the_user_and_one_in_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "OTHERS", (tmp_path,))
    for folder in ("size", "local"):
        (tmp_path / folder).mkdir()
    mine, default = tmp_path / "size" / "mine.yaml", tmp_path / "local" / "default.yaml"
    mine.write_text("# @package _global_\n# twotower train size=mine\nloss: {temperature: x3}\n")
    assert changed("size=mine") == {"loss.temperature": 3.0}
    default.write_text("# @package _global_\ndefaults: [{override /size: mine}]\n")
    assert load_settings("train", [])["loss"]["temperature"] == 3.0
    assert load_settings("train", ["size=medium"])["loss"]["temperature"] == 1.0
    mine.write_text(
        "# @package _global_\ndefaults: [{override /loss: bce}, {override /negatives: uniform}]\n"
    )
    with pytest.raises(InputError, match="size=mine: a size sets keys and selects no choices"):
        load_settings("train", [])
    mine.write_text("loss: {temperature: x3}\n")
    with pytest.raises(InputError, match="its first line must be # @package _global_"):
        load_settings("train", ["size=mine"])


def test_sizes_can_be_swept() -> None:
    assert parse_axis("size", "small,medium,large").choices == ("small", "medium", "large")
    assert validate_overrides(["size=small,large"], sweep=True) == ([], ["size=small,large"])
    problems, _ = validate_overrides(["size=small,huge"], sweep=True)
    assert [problem.key for problem in problems] == ["size"]
