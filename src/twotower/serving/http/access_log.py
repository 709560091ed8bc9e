"""One line for each request, written by a thread of its own so that a slow reader delays nobody."""

import contextlib
import threading
import time
from collections import deque
from typing import TextIO

import orjson

MOST_LINES, MOST_OF_A_PATH = 10_000, 300
PAUSE_SECONDS = 0.2


class AccessLog:
    """Says who asked what, and how it ended: the path, never the query, a header or a body.

    Args:
        console: `jsonl` for JSON lines, `rich` for people, `quiet` for nothing.
    """

    def __init__(self, console: str, stream: TextIO) -> None:
        self._console, self._stream = console, stream
        self._lines: deque[str] = deque()
        self._num_lost = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, client: str, method: str, path: str, status: int, seconds: float) -> None:
        """Take a line; where far too many wait it counts as lost."""
        if self._console == "quiet":
            return
        if len(self._lines) >= MOST_LINES:
            self._num_lost += 1
            return
        now, path, ms = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            path[:MOST_OF_A_PATH],
            seconds * 1000,
        )
        if self._console == "jsonl":
            names = ("time", "client", "method", "path", "status", "ms")
            fields = dict(zip(names, (now, client, method, path, status, round(ms, 3)), strict=True))
            self._lines.append(f"{orjson.dumps(fields).decode()}\n")
        else:  # repr: a line break in a path makes no line of its own
            self._lines.append(f"{now} {client} {method} {path!r} {status} {ms:.2f} ms\n")

    def close(self) -> None:
        """Write what waits."""
        self._closing.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._closing.wait(PAUSE_SECONDS)
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if self._num_lost:
                lost, self._num_lost = self._num_lost, 0
                lines.append(
                    f'{{"lost_lines":{lost}}}\n' if self._console == "jsonl" else f"{lost} lines lost\n"
                )
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                self._stream.write("".join(lines))
                self._stream.flush()
