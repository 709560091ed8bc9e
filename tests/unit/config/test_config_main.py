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
from twotower.commands.complete import completions
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


def complete(line: str) -> list[str]:
    _, *words, begun = line.split(" ")
    return completions(words, begun)


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


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("twotower rei", ["reindex"]),
        ("twotower train los", ["loss.", "loss="]),
        ("twotower train seed", ["seed=", "seeds="]),
        ("twotower train res", ["resume="]),
        ("twotower train loss=bc", ["loss=bce"]),
        ("twotower demo -m index=flat_ip,ivf_s", ["index=flat_ip,ivf_sq"]),
        ("twotower train features.item.pr", ["features.item.price."]),
        ("twotower serve console=q", ["console=quiet"]),
        ("twotower train cache=f", ["cache=false"]),
        ("twotower completion b", ["bash"]),
        ("twotower compare out", ["outputs/"]),
        ("twotower train resume=outputs/on", ["resume=outputs/one/"]),
    ],
)
def test_completion_offers_keys_and_values(
    line: str, some: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outputs" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert complete(line) == some


def test_keys_without_yaml_are_completed_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from twotower.commands.complete import completions;"
        "print(*completions(['train', 'loss=gbce'], 'loss.'));"
        "print(*completions(['train'], 'trainer.precision=3'), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    assert {"loss.temperature=", "trainer.precision=32-true", "False"} <= set(words)


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


def test_help_and_completion_run_no_code_of_the_working_folder(
    downloaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["train", "--help"], ["train", "--help", "loss"], ["train", "--info", "choices"]):
        assert left(*words, monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "loss=evil\n  A loss of theirs." in out
    assert re.search(r"margin=2 +set by its YAML. the gap", out)
    assert "evil.Evil; its source file has the types" in out
    found = []
    for line in ("loss=ev", "loss=evil loss.", "loss=evil loss.margin="):
        found += complete(f"twotower train {line}")
    assert found == ["loss=evil", "loss.margin="]
    assert not downloaded.exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected"), [("twotower train loss=bc", "bce"), ("twotower train los", "loss. loss=")]
)
def test_bash_completes_the_part_after_the_last_word_break(line: str, expected: str) -> None:
    bin_folder = Path(sys.executable).parent
    script = f"""{shellcode(["twotower"], shell="bash")}
PATH="{bin_folder}:$PATH" COMP_WORDBREAKS=$' \\t\\n"=:' COMP_TYPE=9
COMP_LINE='{line}' COMP_POINT={len(line)}
_python_argcomplete twotower; printf '%s' "${{COMPREPLY[*]}}" """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == expected
