"""A training that is killed or told to stop ends as it would have.

The long form, at every file event and at random moments, is in `scripts/bench/training_kills.py` and
`scripts/bench/signals.py`.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from forks import SCRIPTS, start
from in_process import run_script

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "scripts" / "bench"
sys.path.insert(0, str(BENCH))

from signals import Trial  # noqa: E402
from training_kills import seen  # noqa: E402


@pytest.mark.slow
def test_killed_at_every_event_of_a_checkpoint_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    attack = ("--plans", "short", "--only", ".ckpt", "--every", "4", "--kills", "1", "--flips", "5")
    process = start(BENCH / "training_kills.py", *attack, out=tmp_path / "out")
    status, said = process.wait(), (tmp_path / "out").read_text()
    assert status == 0, said
    figures, _ = json.JSONDecoder().raw_decode(said, said.rindex("{\n"))  # what it said on stderr is around
    assert figures["violations"] == []
    # best and last of the one epoch, last of the refit's, final of both; before and after each has its name
    assert figures["file events"] == 3  # every fourth of 2 * (2 + 1 + 2)
    assert figures["random kills"] >= 1
    assert figures["flips"] == 5


class ForkedTrial(Trial):
    def begin(self, out: Path) -> Any:
        return start(SCRIPTS / "train.py", *self.command[2:], out=out)


@pytest.mark.slow
def test_told_to_stop_it_says_how_to_go_on_and_then_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    alone = Trial(tmp_path / "alone", "fit", signal.SIGTERM)
    assert run_script("train", *alone.command[2:]).returncode == 0
    (expected,) = (tmp_path / "alone" / "default").iterdir()
    trial = ForkedTrial(tmp_path / "stopped", "fit", signal.SIGTERM)
    trial.run(delay=0)
    assert trial.problems() == []
    assert trial.status == 143
    again = ForkedTrial(tmp_path / "stopped", "refit", signal.SIGINT)
    again.command[2:] = [f"resume={trial.folder}"]
    again.run(delay=0)
    assert again.problems() == []
    if again.status == 0:  # on a busy machine it may have ended before it was told
        assert again.ended()
    else:
        assert again.status == 130
        done = run_script("train", *again.command[2:])
        assert done.returncode == 0, done.stderr
    assert trial.folder is not None
    assert seen(trial.folder) == seen(expected)
