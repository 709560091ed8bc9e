"""What was meant by words that are no `key=value`: each message has the words to type instead."""

import re
import shlex
from pathlib import Path

import pytest

from twotower.commands.hints import hints
from twotower.commands.overrides import quoting, validate_overrides
from twotower.config.errors import InputError
from twotower.runs.run_files import require_run

KNOWN = {"loss", "embedding_dim", "run", "user_tower"}
FLAGS = ("--help", "--multirun", "-m")


def told(*arguments: str, folder_key: str = "run") -> list[str]:
    return [f"{each.key}: {each.message}" for each in hints(arguments, FLAGS, KNOWN, folder_key)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run", "outputs/x"], "--run: keys have no dashes; write run=outputs/x"),
        (
            ["--embedding-dim", "64"],
            "--embedding-dim: keys have no dashes; write embedding_dim=64",
        ),
        (["--loss.temperature=3"], "--loss.temperature: keys have no .* write loss.temperature=3"),
        (["--run", "-m"], "--run: keys have no dashes; write run="),
        (["--hlep"], "--hlep: unknown flag; did you mean '--help'"),
        (
            ["outputs/x,loss=bce"],
            "outputs/x,loss=bce: a path needs its key; write run=outputs/x,loss=bce",
        ),
        (["loss/bce"], "loss/bce: a choice needs =; write loss=bce"),
        (["loss:", "bce"], "loss:: write loss=bce"),
        (["-", "loss:", "bce"], "loss:: write loss=bce"),
        (
            ["user_tower.widths=[256,", "128]", "seed=1"],
            r"user_tower.widths: the shell splits .* write 'user_tower.widths=\[256, 128\]'",
        ),
    ],
)
def test_a_message_names_what_to_type(arguments: list[str], expected: str) -> None:
    (message,) = told(*arguments)
    assert re.match(expected, message)


def test_valid_overrides_are_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told("-m", "loss=bce,bpr", "run=outputs/a=b,c", "~loss.x", "++a={b: [1]}", "word") == []
    (tmp_path / "log.csv").touch()
    assert "twotower init log.csv" in told("log.csv", folder_key="resume")[0]


def test_a_suggested_value_has_the_quotes_that_it_needs() -> None:
    assert quoting("output_root=/tmp/été").endswith("""commas or =, as in 'output_root="/tmp/été"'""")
    assert quoting("name=it's").endswith("""as in 'key="value"'""")


@pytest.mark.parametrize("value", [";", "/tmp/données/é.csv", "ключ"])
def test_unambiguous_text_needs_no_quotes(value: str) -> None:
    assert validate_overrides([f"data.x={value}"]) == ([], [f'++data.x="{value}"'])


@pytest.mark.parametrize("value", ["/tmp/runs (1)/log.csv", "a=b", "/tmp/[x].csv"])
def test_suggested_overrides_are_valid(value: str) -> None:
    ((problem,), _) = validate_overrides([f"data.x={value}"])
    (written,) = shlex.split(problem.message.partition(", as in ")[2])
    assert validate_overrides([written]) == ([], [f'++data.x="{value}"'])


def test_a_folder_is_checked_before_torch_is_imported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run \(it has no config.yaml\)"):
        require_run(tmp_path)
    (tmp_path / "manifest.json").touch()
    with pytest.raises(InputError, match="a bundle, not a run; name its parent folder"):
        require_run(tmp_path)
