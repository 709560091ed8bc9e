"""What `twotower` prints of commands, choices and keys: `--help`, `--info choices`, completion."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from argcomplete.shell_integration import shellcode
from pydantic import TypeAdapter

import twotower
from twotower.commands import conf, entry_points, run_sweep
from twotower.commands.completion import completions
from twotower.commands.conf import CONF, choices, plain_file
from twotower.commands.entry_points import COMMAND_NAMES
from twotower.commands.help import allowed_values, choices_text, group_text
from twotower.commands.main import main, overview
from twotower.commands.run_settings import OF_THE_RUN
from twotower.config.errors import InputError
from twotower.config.spec import DropoutRate, NonNegativeInt, Width

COMMAND_FILES = {path.stem for path in Path(entry_points.__file__).parent.glob("[!_]*.py")}
FILES = sorted(path for path in CONF.glob("*/*.yaml") if path.parent.name != "local")
COMMANDS = {
    "train": {path.parent.name for path in FILES},
    "reindex": {"index"},
    "build_index": {"index"},
    "evaluate": {"metrics", "baselines"},
}
NONE, OWN = "  (none by default)", "  (as the run had it by default)"


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


@pytest.mark.parametrize("words", [["-m", "embedding_dim=32,64"], ["seeds=2"], ["sweep=tpe"]], ids=str)
def test_the_demo_refuses_a_sweep(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_sweep, "run_sweep", lambda *_: 0)
    assert left("demo", *words, monkeypatch=monkeypatch) == 2
    assert "only twotower train has sweeps" in capsys.readouterr().err


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
        (["train", "loss=bce"], "embedding", ["embedding_dim="]),
        (["serve"], "bundle=la", []),
        (["train"], "nothing", []),
    ],
)
def test_completion_offers_commands_choices_and_keys(
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


def listed(command: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Group -> choice -> its mark and its line."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for section in choices_text(command, choices).split("\n\n"):
        heading, *lines = section.split("\n")
        group = heading.removesuffix(NONE).removesuffix(OWN)
        found[group] = {}
        for line in lines:
            name, _, words = line[3:].partition(" ")
            found[group][name] = line[1], words.strip()
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_group_of_a_command_lists_every_choice(command: str) -> None:
    found = listed(command)
    assert found.keys() == COMMANDS[command]
    for group, names in found.items():
        assert list(names) == sorted(path.stem for path in FILES if path.parent.name == group)


def test_every_choice_has_a_description() -> None:
    for group, names in listed("train").items():
        for name, (_, words) in names.items():
            assert len(words.split()) >= 3, (group, name)
            assert not any(text in words for text in ("cannot be used", "twotower train", "@package")), words


def test_only_the_defaults_of_a_command_are_marked() -> None:
    for command in COMMANDS:
        defaults: dict[str, str] = {}
        for entry in plain_file(command)["defaults"]:
            defaults |= entry if isinstance(entry, dict) else {}
        for group, names in listed(command).items():
            default = defaults[group]
            expected = defaults["data"] if default == "${data}" else default
            marked = [name for name, (mark, _) in names.items() if mark == "*"]
            assert marked == ([] if expected in (None, OF_THE_RUN) else [expected])
            text = f"\n{choices_text(command, choices)}"
            assert (f"\n{group}{NONE}\n" in text) == (expected is None)
            assert (f"\n{group}{OWN}\n" in text) == (expected == OF_THE_RUN)


def choice(tmp_path: Path, text: str) -> str:
    """The line of a loss with this text."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    listing = choices_text("train", lambda group: {"mine": path} if group == "loss" else {})
    return listing.split("\nloss\n")[1].split("\n")[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# twotower train\n# What it is.\n_target_: twotower.model.losses.bce.Bce\n", "What it is."),
        ("# @package _global_\n# twotower train\n# What it is.\nseed: 1\n", "What it is."),
        ("# A sentence over\n# two lines. And another.\nseed: 1\n", "A sentence over two lines."),
        ("# It takes 1.5 hours\nseed: 1 # not this\n", "It takes 1.5 hours."),
        ("# @package _global_\n# twotower train\nseed: 1\n", ""),
        ("", ""),
        (
            "_target_: twotower.evaluation.metrics.recall.Recall\n",
            "recall@k = hits in the first k / min(k, relevant).",
        ),
    ],
)
def test_a_choice_is_described_by_its_yaml_or_else_its_class(tmp_path: Path, text: str, line: str) -> None:
    assert choice(tmp_path, text) == f"   mine  {line}".rstrip()


def test_a_choice_with_a_missing_class_is_listed_as_such(tmp_path: Path) -> None:
    shown = choice(tmp_path, "_target_: twotower.model.losses.no.No\n")
    assert shown.startswith(
        "   mine  cannot be used: _target_: there is no class 'twotower.model.losses.no.No'"
    )


def test_help_of_a_group_has_each_key_with_default_range_and_meaning() -> None:
    lines = group_text("train", "loss", choices).splitlines()
    at = lines.index("loss=power_softmax  (the default)")
    told = "  power=4.0                  number ≥ 1 and ≤ 64. p; 1, 2, 4 and 8 are the fastest."
    assert told in lines[at : lines.index("", at)]
    with pytest.raises(InputError, match="--help los: no group of this command; did you mean 'loss'"):
        group_text("train", "los", choices)


def test_types_of_keys_are_described_in_words() -> None:
    assert allowed_values(TypeAdapter(Width).json_schema()) == "whole number > 0 and ≤ 4,096"
    assert allowed_values(TypeAdapter(NonNegativeInt).json_schema()) == "whole number ≥ 0"
    assert (
        allowed_values(TypeAdapter(list[DropoutRate] | None).json_schema())
        == "list of [number ≥ 0 and < 1] or null"
    )
    assert allowed_values(TypeAdapter(dict[str, Literal["a", None]]).json_schema()) == "name: a, null"


def test_dir_lists_exactly_the_public_names() -> None:
    assert dir(twotower) == sorted(twotower.__all__)
    for name in twotower.__all__:
        assert getattr(twotower, name) is not None
    with pytest.raises(AttributeError, match="module 'twotower' has no attribute 'Results'"):
        _ = twotower.Results
