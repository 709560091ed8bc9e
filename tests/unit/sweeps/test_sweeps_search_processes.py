"""Real processes on one study: none repeats another's work, none robs the living, none loses the dead."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import optuna  # noqa: F401 - so that forks need not load it
import pytest
from fake_search import GO, TRIALS, main, request_of, run
from forks import Fork

from twotower.sweeps.sweep import Sweep
from twotower.sweeps.tpe import Tpe

STORAGES = ["null", "sqlite"]


def start(folder: Path, storage: str, num_trials: int, waits_in: int = 0) -> tuple[Fork, Path]:
    """A process; one that waits does so in its so-manieth trial, until there is the file `GO`."""
    name = f"sqlite:///{folder}/study.db" if storage == "sqlite" else None
    out = folder / f"out {len(list(folder.glob('out *')))}"
    out.touch()
    return Fork(lambda: main(folder, name, num_trials, waits_in), out), out


def ended_well(*processes: tuple[Fork, Path]) -> bool:
    for process, out in processes:
        assert process.wait() == 0, out.read_text()
        assert out.read_text() == ""
    return True


def events(folder: Path) -> list[dict[str, object]]:
    path = folder / TRIALS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(folder: Path, num: int, event: str) -> list[dict[str, object]]:
    until = time.monotonic() + 600
    while time.monotonic() < until:
        if len(found := [each for each in events(folder) if each["event"] == event]) >= num:
            return found
        time.sleep(0.01)
    raise AssertionError(events(folder))


def states(folder: Path, storage: str, num_trials: int) -> Counter[str]:
    plan = plan_of(folder, storage, num_trials)
    assert plan.next([]) is None
    return Counter(plan.summary()["search"]["states"])


def plan_of(folder: Path, storage: str, num_trials: int) -> Sweep:
    name = f"sqlite:///{folder}/study.db" if storage == "sqlite" else None
    return Tpe.Config(num_trials=num_trials, storage=name, pruner="median", num_startup=4).build(
        request_of(folder)
    )


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_processes_share_the_trials_and_none_is_run_twice(tmp_path: Path, storage: str) -> None:
    processes = [start(tmp_path, storage, 10, waits_in=1) for _ in range(2)]
    wait_for(tmp_path, 2, "began")
    (tmp_path / GO).touch()
    assert ended_well(*processes)
    began = [each for each in events(tmp_path) if each["event"] == "began"]
    assert sorted(str(each["job"])[:5] for each in began) == [f"{number:04d}_" for number in range(10)]
    assert len({str(each["overrides"]) for each in began}) == 10
    assert len({each["pid"] for each in began}) == 2
    found = states(tmp_path, storage, 10)
    assert found.total() == found["complete"] + found["pruned"] == 10


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_a_killed_trial_is_resumed_by_one_process_in_its_folder(tmp_path: Path, storage: str) -> None:
    victim, _ = start(tmp_path, storage, 6, waits_in=3)
    wait_for(tmp_path, 3, "began")
    victim.kill()
    victim.wait()
    ended = [each for each in events(tmp_path) if each["event"] != "began"]
    interrupted = next(each for each in reversed(events(tmp_path)) if each["event"] == "began")
    assert ended_well(*[start(tmp_path, storage, 6) for _ in range(2)])
    began = [each for each in events(tmp_path) if each["event"] == "began"]
    times = Counter(str(each["job"]) for each in began)
    again = [each for each in began if each["job"] == interrupted["job"]]
    assert sorted(name[:5] for name in times) == [f"{number:04d}_" for number in range(6)]
    assert times == dict.fromkeys(times, 1) | {str(interrupted["job"]): 2}
    assert again[0]["overrides"] == again[1]["overrides"]
    assert all(times[str(each["job"])] == 1 for each in ended)
    found = states(tmp_path, storage, 6)
    assert found.total() == found["complete"] + found["pruned"] == 6


@pytest.mark.slow
def test_a_suspended_process_keeps_its_trial(tmp_path: Path) -> None:
    sleeper = start(tmp_path, "null", 4, waits_in=1)
    wait_for(tmp_path, 1, "began")
    plan = plan_of(tmp_path, "null", 4)
    with plan.shared.locked():  # a process that stands still with the lock keeps everyone out
        os.kill(sleeper[0].pid, signal.SIGSTOP)
    try:
        taken = {str(each["job"]) for each in events(tmp_path) if each["event"] == "began"}
        jobs = run(plan)
        assert not taken & {job.name for job in jobs}
    finally:
        (tmp_path / GO).touch()
        os.kill(sleeper[0].pid, signal.SIGCONT)
    assert ended_well(sleeper)
    assert states(tmp_path, "null", 4).total() == 4
