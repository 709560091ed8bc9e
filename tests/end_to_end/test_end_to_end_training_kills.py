"""A training that is killed or told to stop ends as it would have.

The long form, at every file event and at random moments, is in `scripts/bench/training_kills.py` and
`scripts/bench/signals.py`.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import run_script

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "bench"))

from signals import Trial  # noqa: E402
from training_kills import seen  # noqa: E402

ATTACK = "['short'], '.ckpt', every=3, num_kills=1, num_flips=5, seed=0"


@pytest.mark.slow
def test_killed_at_every_event_of_a_checkpoint_it_ends_as_if_it_had_not_been() -> None:
    # In a fresh process: it forks, which autograd refuses once any test before has made it start threads.
    code = f"import json, training_kills as room; print(json.dumps(room.attacked({ATTACK})))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["violations"] == []
    # best and last of the one epoch, last of the refit's, final of both; before and after each has its name
    assert figures["file events"] == 4  # every third of 2 * (2 + 1 + 2)
    assert figures["random kills"] >= 1
    assert figures["flips"] == 5


@pytest.mark.slow
def test_told_to_stop_it_says_how_to_go_on_and_then_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    alone = Trial(tmp_path / "alone", "fit", signal.SIGTERM)
    assert run_script("train", *alone.command[2:]).returncode == 0
    (expected,) = (tmp_path / "alone" / "default").iterdir()
    trial = Trial(tmp_path / "stopped", "fit", signal.SIGTERM)
    trial.run(delay=0)
    assert trial.problems() == []
    assert trial.status == 143
    again = Trial(tmp_path / "stopped", "refit", signal.SIGINT)
    again.command = [sys.executable, str(ROOT / "scripts" / "train.py"), f"resume={trial.folder}"]
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
