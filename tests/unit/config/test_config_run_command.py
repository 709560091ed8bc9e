"""Every command: help, exit status, suggestions, and nothing written for a mistaken command."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.conf import CONF
from twotower.commands.overrides import quoting, validate_overrides
from twotower.commands.run_command import exit_status, run_command, split_arguments
from twotower.config.errors import InputError
from twotower.config.exits import Stopped
from twotower.experiments.runs.run_files import require_run
from twotower.jobs import train_run
from twotower.jobs.run_config import RunConfig

SCRIPTS = CONF.parent / "scripts"
DATA = "data=synthetic"


def test_arguments_are_classified() -> None:
    assert split_arguments(["a=1", "-m", "b=2,3", "~c"]) == (["a=1", "b=2,3", "~c"], ["-m"])
    assert split_arguments(["--cfg", "job", "a=1"]) == (["a=1"], ["--cfg", "job"])
    assert split_arguments(["a"]) == (["a"], [])


def raising(error: BaseException) -> Callable[[], int]:
    def call() -> int:
        raise error

    return call


def test_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: 0, debug=False) == 0
    assert exit_status(lambda: 3, debug=False) == 3
    assert exit_status(raising(InputError("items.csv: no rows")), debug=False) == 2
    assert capsys.readouterr().err == "error: items.csv: no rows\n"
    assert exit_status(raising(KeyError("x")), debug=False) == 1
    assert capsys.readouterr().err == "failed: KeyError: 'x' (debug=true shows where)\n"
    assert exit_status(raising(KeyboardInterrupt()), debug=False) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert exit_status(raising(Stopped(15, "do this")), debug=False) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM; do this\n"
    assert exit_status(raising(KeyError("x")), debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


class Command:
    """Runs `run_command` in this process with a task that only remembers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.monkeypatch, self.root = monkeypatch, root
        self.seen: list[tuple[RunConfig, list[str]]] = []
        self.statuses: list[int] = []
        self.resumed: list[tuple[Path, Sequence[str], dict[str, Any]]] = []
        monkeypatch.setattr(train_run, "resume", self.resume)

    def task(self, config: RunConfig, overrides: Sequence[str]) -> int:
        self.seen.append((config, list(overrides)))
        return self.statuses.pop(0) if self.statuses else 0

    def resume(self, folder: Path, trusted_packages: Sequence[str], changes: dict[str, Any]) -> int:
        self.resumed.append((folder, trusted_packages, changes))
        return 0

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["train.py", f"output_root={self.root}", *arguments])
        if any(text.startswith("resume=") for text in arguments):
            self.monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        with pytest.raises(SystemExit) as left:
            run_command("train", self.task, "words")
        assert isinstance(left.value.code, int)
        return left.value.code


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return Command(monkeypatch, tmp_path)


def test_a_task_receives_checked_settings_and_overrides(command: Command) -> None:
    # a key that only Python has a default for: plain Hydra would refuse it
    assert command(DATA, "history.dropout=0.25", "name=mine") == 0
    ((config, overrides),) = command.seen
    settings = config.settings
    assert settings["history"]["dropout"] == 0.25
    assert settings["name"] == "mine"
    assert overrides[1:] == [DATA, "history.dropout=0.25", "name=mine"]
    assert not SWEEP_ONLY & settings.keys()


@pytest.mark.parametrize("note", ["it's good, too", "a = b, c", "50 % (best) [of 3]", "${name}"])
def test_a_note_is_unchanged(command: Command, note: str) -> None:
    assert command(DATA, f"note={note}") == 0
    ((config, _),) = command.seen
    assert config.note == note


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("a=b, {c}", "a=b, {c}"),
        ("[it's]", "[it's]"),
        ("'a,b'", "a,b"),
        (r"a\=b", "a=b"),
        ("${out}", "o"),
        ("null", None),
    ],
)
def test_a_path_is_unchanged_unless_it_is_quoted(
    monkeypatch: pytest.MonkeyPatch, typed: str, path: str | None
) -> None:
    def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
        seen.extend([settings["queries"], settings["out"]])
        return 0

    seen: list[object] = []
    monkeypatch.setattr(sys, "argv", ["build_index", "parts=p", f"queries={typed}", "out=o"])
    with pytest.raises(SystemExit):
        run_command("build_index", task, "words")
    assert seen == [path, "o"]


def test_the_command_returns_the_status_of_the_task(command: Command) -> None:
    command.statuses = [3]
    assert command(DATA) == 3


def test_settings_of_sweeps_have_no_effect_on_one_run(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(DATA, "launcher=local", "retry_failed=true") == 0
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {key}: no effect on a single run; add -m, sweep= or seeds="
        for key in ("launcher", "retry_failed")
    ]
    assert command(DATA, "-m", "seed=1", "launcher=local") == 0
    assert "launcher: no effect on a single run; give a key several values" in capsys.readouterr().err


def test_a_mistake_starts_no_task(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(DATA, "loss=bec") == 2
    assert command.seen == []
    assert "did you mean 'bce'" in (told := capsys.readouterr().err)
    assert "Traceback" not in told
    assert command(DATA, "loss=bec", "debug=true") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_sweep_with_a_mistake_starts_no_job(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, told in {
        "loss=bce,nope": "unknown choice 'nope'",
        "loss.temperature=-1,0.5": "loss.temperature: expected greater than 0, got -1",
        "embeding_dim=16,32": "did you mean 'embedding_dim'?",
        "loss.temperature=interval(0.1,0.5)": "sweep=tpe",
    }.items():
        assert command(DATA, "-m", wrong) == 2
        assert told in capsys.readouterr().err
    assert command.seen == []
    assert list(command.root.iterdir()) == []


def test_hydras_own_folders_are_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(DATA, "hydra.run.dir=/tmp/elsewhere") == 2
    assert "hydra.run.dir: " in capsys.readouterr().err


def test_resume_accepts_only_keys_that_are_no_settings_of_a_run(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    then, resume = tmp_path / "then", f"resume={tmp_path / 'then'}"
    assert command(resume) == 2
    assert "not a run" in capsys.readouterr().err
    then.mkdir()
    (then / "config.yaml").touch()
    assert command(resume, "console=quiet") == 0
    assert command(resume, "seed=3") == 2
    assert "leave out seed=3" in capsys.readouterr().err
    assert command(resume, "trusted_packages=[mine]", "debug=true") == 0
    assert command(resume, "trainer.devices=2", "trainer.num_nodes=3") == 0
    changes = [{"console": "quiet"}, {}, {"trainer.devices": 2, "trainer.num_nodes": 3}]
    assert command.resumed == list(zip([then] * 3, [[], ["mine"], []], changes, strict=True))
    assert command(resume, f"resume={tmp_path}") == 2
    assert "resume= is typed 2 times; name one run" in capsys.readouterr().err
    assert command(resume, "trusted_packages=mine") == 2
    assert "trusted_packages: expected a valid list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("reindex", ["--run", "outputs/x"], "--run: keys have no dashes; write run="),
        ("train", ["--embedding-dim=64"], "--embedding-dim: keys have no dashes; write embedding_dim=64"),
        ("train", ["--loss.temperature=3"], "keys have no dashes; write loss.temperature=3"),
        ("train", ["--hlep"], "--hlep: unknown flag; did you mean '--help'"),
        ("reindex", ["outputs/x"], "outputs/x: a path needs its key; write run=outputs/x"),
        ("train", ["embedding_dim", "=", "32"], "embedding_dim: expected key=value"),
        ("train", [""], ": expected key=value"),
        ("train", ["log.csv"], "log.csv: for your own data, run: twotower init log.csv"),
        ("train", ["resume="], "resume: expected the folder of a run; write resume=latest"),
        ("train", ["resume=none"], "resume=none: not a run (there is no such folder); name the folder"),
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
        run_command(command, lambda *_: 1, "words")
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("output_root=/tmp/a (1)", "/tmp/a (1)"),
        ("name=it's", "it's"),
        ('name=5" (new)', '5" (new)'),
        ("cases=[auto target_recall=0.95]", ["auto target_recall=0.95"]),
        ("cases=[OPQ16,IVF9,Refine(SQfp16)]", ["OPQ16,IVF9,Refine(SQfp16)"]),
        ("cases=[hnsw, ivf_pq m=16]", ["hnsw", "ivf_pq m=16"]),
        ("user_tower.widths=[128,64", [128, 64]),
        ("embedding_dim==32", 32),
    ],
)
def test_a_suggested_override_can_be_typed(typed: str, value: Any) -> None:
    _, _, shown = quoting(typed).partition("; write ")
    (word,) = shlex.split(shown)
    assert validate_overrides([word]) == ([], [f"++{word}"])
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == (typed.partition("=")[0], value)


def test_without_a_readable_key_the_form_is_shown() -> None:
    assert quoting(".loss=3") == quoting("loss") == "expected key=value, such as embedding_dim=32"


@pytest.mark.parametrize("value", [";", "/tmp/données/é.csv", "ключ"])
def test_unambiguous_text_needs_no_quotes(value: str) -> None:
    assert validate_overrides([f"data.x={value}"]) == ([], [f'++data.x="{value}"'])


def test_a_folder_is_checked_before_torch_is_imported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run \(it has no config.yaml\)"):
        require_run(tmp_path)
    (tmp_path / "manifest.json").touch()
    with pytest.raises(InputError, match="a bundle, not a run; name its parent folder"):
        require_run(tmp_path)
