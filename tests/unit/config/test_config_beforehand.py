"""What becomes of the copy of the process in which settings are checked first."""

import signal

import pytest

from twotower.commands import beforehand
from twotower.config.problems import Problem


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_its_answer_comes_whoever_started_us(
    monkeypatch: pytest.MonkeyPatch, handler: signal.Handlers
) -> None:
    """Where SIGCHLD is ignored, as some supervisors leave it, nobody can be waited for."""
    monkeypatch.setattr(beforehand, "loaded", lambda _: False)
    monkeypatch.setattr(beforehand, "SLOW", frozenset())
    before = signal.signal(signal.SIGCHLD, handler)
    try:
        found = beforehand.problems_beforehand(lambda: [Problem("loss.temprature", "unknown key")])
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert found == [Problem("loss.temprature", "unknown key")]
