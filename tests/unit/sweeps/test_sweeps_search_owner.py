import os
import signal
import subprocess
import sys
import time

import pytest

from twotower.sweeps import trials
from twotower.sweeps.trials import LOST_SECONDS, OBSERVE_SECONDS, LivenessCheck, started, this_process


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr(trials.time, "time", lambda: self.now)
        monkeypatch.setattr(trials.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_process_knows_itself_and_each_call_is_another() -> None:
    one, other = this_process(), this_process()
    assert one["pid"] == os.getpid()
    assert one["started"] == started(os.getpid()) is not None
    assert one["token"] != other["token"]
    assert one | {"token": ""} == other | {"token": ""}


def test_a_process_that_is_gone_or_a_zombie_has_not_started() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert started(child.pid) is not None
    child.send_signal(signal.SIGKILL)
    until = time.monotonic() + 300
    while started(child.pid) is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert started(child.pid) is None  # not waited for yet: a zombie
    child.wait()
    assert started(child.pid) is None


def test_here_only_the_process_counts() -> None:
    liveness, me = LivenessCheck(), this_process()
    assert liveness.is_dead(me, heartbeat=0.0) is False
    assert liveness.is_dead(me | {"started": "another time"}, heartbeat=time.time()) is True


def test_elsewhere_a_fresh_heartbeat_is_life(clock: Clock) -> None:
    there = this_process() | {"host": "another host"}
    assert LivenessCheck().is_dead(there, clock.now - LOST_SECONDS + 1) is False


def test_elsewhere_an_old_heartbeat_must_stand_still_too(clock: Clock) -> None:
    liveness, there = LivenessCheck(), this_process() | {"host": "another host"}
    heartbeat = clock.now - LOST_SECONDS - 1
    assert liveness.is_dead(there, heartbeat) is None
    clock.now += OBSERVE_SECONDS - 1
    assert liveness.is_dead(there, heartbeat) is None
    clock.now += 1
    assert liveness.is_dead(there, heartbeat) is True


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_a_clock_that_is_wrong_is_no_death(clock: Clock, skew: float) -> None:
    liveness, there = LivenessCheck(), this_process() | {"host": "another host"}
    assert liveness.is_dead(there, clock.now + skew) is None
    for _ in range(20):
        clock.now += 10
        assert liveness.is_dead(there, clock.now + skew) is False
