import io
import logging

import pytest
from rich.console import Console as Screen
from terminals import remaining_lines

from twotower.config.progress import PROGRESS, Progress, duration_text
from twotower.experiments.console.rich import Rich

SECONDS = 1_000.0


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = SECONDS

    def __call__(self) -> float:
        return self.now


def test_progress_is_logged_for_long_work_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "twotower")
    clock = Clock()
    with Progress("short", 10, clock) as advance:
        for done in range(1, 11):
            clock.now += 0.4
            advance(done)
    assert not caplog.messages
    with Progress("evaluation", 4_000, clock) as advance:
        for done in range(1_000, 5_000, 1_000):
            clock.now += 6.0
            advance(done)
    assert caplog.messages == [
        "evaluation: 1,000 of 4,000, about 18.0 s left",
        "evaluation: 3,000 of 4,000, about 6.0 s left",
        "evaluation: done in 24.0 s",
    ]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_on_a_terminal_takes_one_line(is_terminal: bool) -> None:
    console, file = Rich(), io.StringIO()
    console.screen = Screen(file=file, force_terminal=is_terminal, width=80)
    log, clock = logging.getLogger("twotower"), Clock()
    log.addHandler(console)
    before = log.level
    log.setLevel(logging.INFO)
    try:
        with Progress("x", 2, clock) as advance:
            clock.now += 6.0
            advance(1)
        log.info("next")
        log.info("y: 1 of 2", extra={PROGRESS: 0.5})  # never ends
    finally:
        log.removeHandler(console)
        console.close()
        console.close()
        log.setLevel(before)
    before_end = ["x: 1 of 2, about 6.0 s left"], ["y: 1 of 2"]
    lines = ["x: done in 6.0 s", "next"]
    assert remaining_lines(file.getvalue()) == (
        lines if is_terminal else [*before_end[0], *lines, *before_end[1]]
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration_text(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words
