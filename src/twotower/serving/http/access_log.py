"""One line for each request, written by a thread of its own so that a slow reader delays nobody."""

import threading
import time
from collections import deque
from typing import Any, TextIO

import orjson

MOST_LINES, MOST_OF_A_PATH = 10_000, 300
PAUSE_SECONDS = 0.2


class AccessLog:
    """Says who asked what, and how it ended: the path, never the query, a header or a body.

    Args:
        console: `jsonl` for JSON lines, `rich` for people, `quiet` for nothing.
        stream: where lines go.
    """

    def __init__(self, console: str, stream: TextIO) -> None:
        self._console, self._stream = console, stream
        self._entries: deque[tuple[float, str, str, str, int, float]] = deque()
        self._lost = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        if console != "quiet":
            self._thread.start()

    def write(self, client: str, method: str, path: str, status: int, seconds: float) -> None:
        """Take a line; where far too many wait it counts as lost."""
        if self._console == "quiet":
            return
        if len(self._entries) < MOST_LINES:
            self._entries.append((time.time(), client, method, path[:MOST_OF_A_PATH], status, seconds))
        else:
            self._lost += 1

    def close(self) -> None:
        """Write what waits."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._closing.wait(PAUSE_SECONDS)
            lines = [self._line(self._entries.popleft()) for _ in range(len(self._entries))]
            if self._lost:
                lost, self._lost = self._lost, 0
                lines.append(self._text({"lost_lines": lost}, f"{lost} lines lost\n"))
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more
                return

    def _line(self, entry: tuple[float, str, str, str, int, float]) -> str:
        at, client, method, path, status, seconds = entry
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        fields: dict[str, Any] = {
            "time": stamp,
            "client": client,
            "method": method,
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 3),
        }
        # repr: a line break in a path makes no line of its own.
        return self._text(fields, f"{stamp} {client} {method} {path!r} {status} {seconds * 1000:.2f} ms\n")

    def _text(self, fields: dict[str, Any], text: str) -> str:
        return orjson.dumps(fields).decode() + "\n" if self._console == "jsonl" else text
