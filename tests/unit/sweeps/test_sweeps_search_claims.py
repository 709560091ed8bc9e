"""Whose trials may be taken over: those of the dead, and of nobody else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import IntDistribution

from twotower.config.errors import InputError
from twotower.sweeps.study import check_identity, open_storage, open_study, quiet, storage_name
from twotower.sweeps.trials import HEARTBEAT, LOST_SECONDS, Trials, host, started

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
OLD = LOST_SECONDS + 10


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    with quiet():
        storage = open_storage(storage_name(None, tmp_path))
        return Trials(open_study(storage, "s", ["maximize"]), storage, tmp_path)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def add(trials: Trials, job: str, owner: dict[str, Any] | None = None, age: float = 0.0) -> None:
    """A trial that runs, of this process's or another's, who last gave word so many seconds ago."""
    with trials.locked():
        trial = trials.add(job, {"x": 1}, {"x": IntDistribution(0, 9)}, ["x=1"])
        if owner is not None:
            trials.set_attributes(trial, owner=owner)
        trials.set_attributes(trial, heartbeat=time.time() - age)


def of_process(pid: int, **changes: str) -> dict[str, Any]:
    return {"host": host(), "pid": pid, "started": started(pid), "token": f"t{pid}", **changes}


def dead(trials: Trials) -> tuple[list[str], bool]:
    with trials.locked():
        found, unsure = trials.abandoned(trials.all())
        return [trial.user_attrs["job"] for trial in found], unsure


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 300
    while started(pid) is not None and time.monotonic() < until:
        time.sleep(0.01)


def test_a_living_process_of_this_host_keeps_its_trial_however_long_it_is_silent(
    trials: Trials, child: subprocess.Popen[bytes]
) -> None:
    add(trials, "mine", age=OLD)
    add(trials, "theirs", of_process(child.pid), age=OLD)
    assert dead(trials) == ([], False)


def test_a_suspended_process_keeps_its_trial(trials: Trials, child: subprocess.Popen[bytes]) -> None:
    add(trials, "theirs", of_process(child.pid), age=OLD)
    os.kill(child.pid, signal.SIGSTOP)
    assert dead(trials) == ([], False)


def test_a_killed_process_has_lost_its_trial_at_once(trials: Trials, child: subprocess.Popen[bytes]) -> None:
    add(trials, "theirs", of_process(child.pid), age=0)
    add(trials, "mine")
    child.kill()
    wait_until_gone(child.pid)
    assert dead(trials) == (["theirs"], False)


def test_a_process_that_has_the_number_of_a_dead_one_owns_nothing(
    trials: Trials, child: subprocess.Popen[bytes]
) -> None:
    add(trials, "old", of_process(child.pid, started="an earlier time"))
    assert dead(trials) == (["old"], False)


def test_of_another_host_only_the_heartbeat_is_known(trials: Trials, child: subprocess.Popen[bytes]) -> None:
    there = of_process(child.pid, host="elsewhere")
    add(trials, "fresh", there, age=LOST_SECONDS - 30)
    assert dead(trials) == ([], False)
    add(trials, "silent", there | {"token": "silent"}, age=OLD)
    assert dead(trials) == ([], True)  # not yet watched for long enough
    trials.liveness.seen["silent"] = (trials.by_job()["silent"].user_attrs[HEARTBEAT], -1e9)
    assert dead(trials) == (["silent"], False)


def test_one_that_is_unsure_hides_no_dead_one(trials: Trials, child: subprocess.Popen[bytes]) -> None:
    add(trials, "silent", of_process(child.pid, host="elsewhere"), age=OLD)
    add(trials, "dead", of_process(child.pid, started="an earlier time"))
    assert dead(trials) == (["dead"], True)


def test_what_has_ended_is_nobody_s_to_take(trials: Trials) -> None:
    add(trials, "done", of_process(os.getpid(), started="an earlier time"))
    with trials.locked():
        trials.end(trials.by_job()["done"], "ok", [1.0], None)
    assert dead(trials) == ([], False)


def test_who_takes_over_is_the_owner_and_the_trial_is_the_same(trials: Trials, tmp_path: Path) -> None:
    add(trials, "old", of_process(os.getpid(), started="an earlier time", token="before"), age=OLD)
    before = trials.by_job()["old"]
    assert not trials.is_mine(before)
    with trials.locked():
        trials.take_over(before)
    after = trials.by_job()["old"]
    assert trials.is_mine(after)
    assert dead(trials) == ([], False)
    assert time.time() - after.user_attrs[HEARTBEAT] < 60
    assert (after.number, after.params, len(trials.all())) == (before.number, before.params, 1)
    with quiet():
        storage = open_storage(storage_name(None, tmp_path))
        other = Trials(open_study(storage, "s", ["maximize"]), storage, tmp_path)
    assert not other.is_mine(after)  # in the same process even: each call has a token of its own


def test_a_storage_is_named_so_that_any_process_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_name(None, Path("sweep")) == f"{tmp_path}/sweep/study.journal"
    assert storage_name("a/b.journal", Path("sweep")) == f"{tmp_path}/a/b.journal"
    assert storage_name("sqlite:///a/b.db", Path("sweep")) == f"sqlite:///{tmp_path}/a/b.db"
    assert storage_name("sqlite:////a/b.db", Path("sweep")) == "sqlite:////a/b.db"
    assert storage_name("postgresql://host/db", Path("sweep")) == "postgresql://host/db"


def test_what_a_study_is_about_is_remembered_once(trials: Trials) -> None:
    facts = {"vary": {"x": "1,2"}, "objectives": {"valid/recall_at_20": "maximize"}}
    check_identity(trials.study, facts)
    check_identity(trials.study, facts)
    with pytest.raises(InputError, match=r"x \(vary\) was '1,2', is not set; y \(vary\) was not set, is '3'"):
        check_identity(trials.study, facts | {"vary": {"y": "3"}})
    assert trials.study.user_attrs["about"] == facts
