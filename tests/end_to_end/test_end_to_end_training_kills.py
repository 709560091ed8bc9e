"""A training that is killed or told to stop ends as it would have."""

import json
import signal
import time
from pathlib import Path
from shlex import quote

import pytest
from forks import SCRIPTS, start
from in_process import run_script
from training_kills import SMALL, seen


@pytest.mark.slow
def test_killed_at_every_event_of_a_checkpoint_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    process = start(Path(__file__).with_name("training_kills.py"), out=tmp_path / "out")
    status, said = process.wait(), (tmp_path / "out").read_text()
    assert status == 0, said
    figures, _ = json.JSONDecoder().raw_decode(said, said.rindex("{\n"))  # what it said on stderr is around
    assert figures["violations"] == []
    # best and last of the one epoch, last of the refit's, final of both; before and after each has its name
    assert figures["file events"] == 3  # every fourth of 2 * (2 + 1 + 2)
    assert figures["random kills"] >= 1


def stop(arguments: list[str], root: Path, phase: str, number: signal.Signals) -> tuple[int, str, Path]:
    """Train in another process and signal it in a phase; return its status, its last line and its run."""
    process = start(SCRIPTS / "train.py", *arguments, out=root / "out")
    while not (found := list(root.glob(f"default/*/checkpoints/{phase}/last.ckpt"))):
        assert process.poll() is None, (root / "out").read_text()
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(), (root / "out").read_text().splitlines()[-1], found[0].parents[2]


@pytest.mark.slow
def test_told_to_stop_it_says_how_to_go_on_and_then_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    plan = [*SMALL, "trainer.max_epochs=3", "trainer.checkpoint_every_steps=2", "seed=0"]
    plan += ["trainer.initial_share=0.25", "trainer.ema_decay=0.9"]
    assert run_script("train", *plan, f"output_root={tmp_path / 'alone'}").returncode == 0
    (expected,) = (tmp_path / "alone" / "default").iterdir()
    root = tmp_path / "stopped"
    root.mkdir()
    status, last, run = stop([*plan, f"output_root={root}"], root, "fit", signal.SIGTERM)
    assert status == 143
    assert last.startswith("stopped by SIGTERM")
    assert f"resume={quote(str(run))}" in last
    status, last, _ = stop([f"resume={run}"], root, "refit", signal.SIGINT)
    if status:  # on a busy machine it may have ended before it was told
        assert (status, last.startswith("interrupted")) == (130, True)
        done = run_script("train", f"resume={run}")
        assert done.returncode == 0, done.stderr
    assert seen(run) == seen(expected)
