"""Suggestions for words that are no `key=value`: each message has the words to type instead."""

import sys
from pathlib import Path

import pytest

from twotower.commands.overrides import quoting, validate_overrides
from twotower.commands.run_command import run_command
from twotower.config.errors import InputError
from twotower.runs.run_files import require_run


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("reindex", ["--run", "outputs/x"], "--run: keys have no dashes; write run="),
        ("train", ["--embedding-dim=64"], "--embedding-dim: keys have no dashes; write embedding_dim=64"),
        ("train", ["--loss.temperature=3"], "keys have no dashes; write loss.temperature=3"),
        ("train", ["--hlep"], "--hlep: unknown flag; did you mean '--help'"),
        ("reindex", ["outputs/x"], "outputs/x: a path needs its key; write run=outputs/x"),
        ("train", ["loss/bce"], "loss/bce: a choice needs =; write loss=bce"),
        ("train", ["log.csv"], "log.csv: for your own data, run: twotower init log.csv"),
        ("train", ["user_tower.widths=[256,", "128]"], "quote a value with spaces"),
    ],
)
def test_a_message_names_what_to_type(
    command: str,
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").touch()
    monkeypatch.setattr(sys, "argv", [command, *words])
    with pytest.raises(SystemExit):
        run_command(command, lambda *_: 1, "words", {})
    assert expected in capsys.readouterr().err


def test_a_suggested_value_has_the_quotes_that_it_needs() -> None:
    assert quoting("output_root=/tmp/été").endswith("""commas or =, as in 'output_root="/tmp/été"'""")
    assert quoting("name=it's").endswith("""as in 'key="value"'""")


@pytest.mark.parametrize("value", [";", "/tmp/données/é.csv", "ключ"])
def test_unambiguous_text_needs_no_quotes(value: str) -> None:
    assert validate_overrides([f"data.x={value}"]) == ([], [f'++data.x="{value}"'])


def test_a_folder_is_checked_before_torch_is_imported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run \(it has no config.yaml\)"):
        require_run(tmp_path)
    (tmp_path / "manifest.json").touch()
    with pytest.raises(InputError, match="a bundle, not a run; name its parent folder"):
        require_run(tmp_path)
