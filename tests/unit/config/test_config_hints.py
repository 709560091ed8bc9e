"""What a command line was meant to be, and that what is told can be typed as it stands."""

import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from twotower.commands.conf import readable_choices
from twotower.commands.hints import joined, meant_by_flag, refuse_bare_folder
from twotower.commands.overrides import sound_overrides
from twotower.config.errors import InputError
from twotower.runs.run_files import refuse_no_run


@pytest.mark.parametrize(
    ("door", "typed", "meant"),
    [
        ("reindex", ["--run", "outputs/a b"], "write 'run=outputs/a b'"),
        ("train", ["--embedding-dim", "64"], "write embedding_dim=64"),
        ("train", ["--embedding_dim=64"], "write embedding_dim=64"),
        ("train", ["--loss.temperature", "-m"], "write loss.temperature=VALUE"),
        ("train", ["--resume", "outputs/x"], "write resume=outputs/x"),
        ("train", ["--run", "outputs/x"], None),
        ("train", ["--verbose"], None),
    ],
)
def test_flags_of_other_tools(door: str, typed: list[str], meant: str | None) -> None:
    assert meant_by_flag(typed[0], typed, door) == meant


def test_a_folder_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for text, written in {"here": "run=here", "outputs/lr=.1 x": "'run=outputs/lr=.1 x'"}.items():
        with pytest.raises(InputError) as told:
            refuse_bare_folder(["index=flat_ip", text], "reindex", ("run", "bundle"))
        assert str(told.value) == f"{text}: write {written}"
    with pytest.raises(InputError, match="here: write bundle=here"):
        refuse_bare_folder(["here"], "serve", ("run", "bundle"))
    refuse_bare_folder(["run=a/b", "index=flat_ip"], "reindex", ("run", "bundle"))
    refuse_bare_folder(["here"], "train", ("run", "bundle"))  # which begins from none


def test_what_the_shell_split() -> None:
    split, whole = joined(["seed=1", "user_tower.widths=[256,", "128,", "64]", "metrics.ks=[5,10]"])
    assert whole == ["seed=1", "metrics.ks=[5,10]"]
    ((key, message),) = [(each.key, each.message) for each in split]
    assert key == "user_tower.widths=[256, 128, 64]"
    assert "write 'user_tower.widths=[256,128,64]', without" in message
    assert joined(["a=[1,", "b=2"]) == ([], ["a=[1,", "b=2"])  # never closed: told otherwise


@pytest.mark.parametrize("value", [";", "/tmp/données/é.csv", "ключ"])
def test_a_text_that_can_mean_nothing_else_needs_no_quotes(value: str) -> None:
    assert sound_overrides([f"data.x={value}"]) == ([], [f'++data.x="{value}"'])


@pytest.mark.parametrize("value", ["/tmp/runs (1)/log.csv", "a=b", "/tmp/[x].csv"])
def test_what_is_told_to_be_typed_can_be_typed(value: str) -> None:
    ((problem,), _) = sound_overrides([f"data.x={value}"])
    written = problem.message.partition("to mean this text, write ")[2]
    assert sound_overrides(shlex.split(written)) == ([], [f'++data.x="{value}"'])


def test_a_yaml_of_ones_own_that_is_broken_is_told_with_its_line(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("temperature: 1\nclip: [1\nnorm: 2\n")
    with (
        pytest.raises(InputError, match=f"{mine}: line 3: expected ',' or ']'.*; mend it") as told,
        readable_choices(),
    ):
        OmegaConf.load(mine)
    assert "\n" not in str(told.value)


def test_a_folder_is_looked_at_before_torch_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run is here \(it has no config.yaml\)"):
        refuse_no_run(tmp_path)
    (tmp_path / "manifest.json").touch()
    with pytest.raises(InputError, match="a bundle, not a run; name the folder that it is in"):
        refuse_no_run(tmp_path)
