import io
import logging

import pytest

from twotower.config.progress import PROGRESS, Progress
from twotower.reports.console import lines

SECONDS = 1_000.0


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = SECONDS

    def __call__(self) -> float:
        return self.now


def test_what_is_long_tells_how_far_it_is_and_what_is_short_says_nothing(
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


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "shown"),
    [
        (io.StringIO(), "x: 1 of 2, about 6.0 s left\nx: done in 6.0 s\nnext\n"),
        (_Terminal(), f"x: 1 of 2, about 6.0 s left{lines.CLEARED}x: done in 6.0 s\nnext\n"),
    ],
)
def test_a_terminal_draws_progress_in_one_line(stream: io.StringIO, shown: str) -> None:
    log, handler, clock = logging.getLogger("twotower"), lines.Lines(), Clock()
    handler.setStream(stream)
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.INFO)
    try:
        with Progress("x", 2, clock) as advance:
            clock.now += 6.0
            advance(1)
        log.info("next")
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    assert stream.getvalue() == shown


def test_a_line_of_progress_that_is_cut_off_is_ended() -> None:
    handler, stream = lines.Lines(), _Terminal()
    handler.setStream(stream)
    record = logging.LogRecord("twotower", logging.INFO, "", 0, "x: 1 of 2", None, None)
    vars(record)[PROGRESS] = 0.5
    handler.emit(record)
    handler.close()
    handler.close()
    assert stream.getvalue() == "x: 1 of 2\n"
