"""`twotower COMMAND`: the list of commands and their descriptions, what a shell may complete."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from argcomplete.shell_integration import shellcode

from twotower.commands import conf
from twotower.commands import main as command
from twotower.commands.entry_points.completion import completions
from twotower.commands.main import COMMAND_NAMES, main, overview

COMMAND_FILES = {path.stem for path in (Path(command.__file__).parent / "entry_points").glob("*.py")} - {
    "__init__"
}


def test_every_command_is_listed_with_a_description() -> None:
    assert set(COMMAND_NAMES) == COMMAND_FILES
    lines = overview().splitlines()
    assert max(map(len, lines)) <= 120
    for name in COMMAND_NAMES:
        assert any(re.match(rf"  {name} +[A-Z].*\.$", line) for line in lines)


def left(*words: str, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["twotower", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_version_help_and_an_unknown_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert left("--version", monkeypatch=monkeypatch) == 0
    assert re.fullmatch(r"twotower \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert left(monkeypatch=monkeypatch) == left("--help", monkeypatch=monkeypatch) == 0
    assert left("trian", monkeypatch=monkeypatch) == 2
    assert "trian: unknown command; did you mean 'train'?" in capsys.readouterr().err


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose `conf/` names a class that lies there; returns the mark of its code."""
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\nclass Evil: ...\n")
    for name, text in {
        "loss/evil": "# A loss of theirs.\n_target_: evil.Evil\nmargin: 2    # the gap\n",
        "loss/nameless": "_target_: evil.Evil\n",
        "local/default": "# @package _global_\ndefaults:\n  - override /loss: evil\n",
    }.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path / "ran"


def test_help_runs_no_code_of_the_working_folder(
    downloaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["train", "--help"], ["train", "--help", "loss"], ["train", "--info", "choices"]):
        assert left(*words, monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "loss=evil\n  A loss of theirs." in out
    assert re.search(r"margin=2 +the gap", out)
    assert not downloaded.exists()


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        ([], "exp", ["export", "export_live"]),
        (["train"], "negatives=in", ["negatives=in_batch"]),
        (["train", "loss=bce"], "loss.te", ["loss.temperature="]),
        (["serve"], "bundle=la", ["bundle=latest"]),
        (["train"], "nothing", []),
    ],
)
def test_completion_offers_commands_choices_keys_and_latest(
    words: list[str], begun: str, expected: list[str]
) -> None:
    assert completions(words, begun) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_the_part_after_the_last_word_break() -> None:
    line, bin_folder = "twotower train loss=bc", Path(sys.executable).parent
    script = f"""{shellcode(["twotower"], shell="bash")}
PATH="{bin_folder}:$PATH" COMP_WORDBREAKS=$' \\t\\n"=:' COMP_TYPE=9
COMP_LINE='{line}' COMP_POINT={len(line)}
_python_argcomplete twotower; printf '%s' "${{COMPREPLY[*]}}" """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "bce"
