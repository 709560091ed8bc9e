"""The access log, with one line per request, and the metrics of GET /metrics for Prometheus."""

import contextlib
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TextIO

import orjson
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from twotower.serving.live.live_service import LiveService

MAX_LINES, MAX_PATH_LENGTH = 10_000, 300
PAUSE_SECONDS = 0.2
LINES_PER_WRITE = 8
"""A write of at most 4096 bytes to a pipe is not mixed with writes of other workers."""


class AccessLog:
    """Writes time, client, method, path, status and duration of requests, never a query, header or body.

    A thread writes, so that a slow reader of the log does not block requests. If more than `MAX_LINES` wait,
    the oldest are dropped.
    """

    def __init__(self, console: str, stream: TextIO) -> None:
        self._console, self._stream = console, stream
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, client: str, method: str, path: str, status: int, seconds: float) -> None:
        """Append a line to those that wait."""
        if self._console == "quiet":
            return
        now, ms = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), seconds * 1000
        path = path[:MAX_PATH_LENGTH]
        if self._console == "jsonl":
            fields = {"time": now, "client": client, "method": method, "path": path, "status": status}
            self._lines.append(f"{orjson.dumps({**fields, 'ms': round(ms, 3)}).decode()}\n")
        else:  # repr, because a path can contain line breaks
            self._lines.append(f"{now} {client} {method} {path!r} {status} {ms:.2f} ms\n")

    def close(self) -> None:
        """Write the lines that wait."""
        self._closing.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            is_closing = self._closing.wait(PAUSE_SECONDS)
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            with contextlib.suppress(OSError, ValueError):  # the stream is closed
                for start in range(0, len(lines), LINES_PER_WRITE):
                    self._stream.write("".join(lines[start : start + LINES_PER_WRITE]))
                    self._stream.flush()


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the folder with the counts of all workers; `prometheus_client` reads it."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics(Collector):
    """Counts requests and batches; `collect` reads the state of the service when metrics are requested."""

    def __init__(self, live: LiveService) -> None:
        self._live = live
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        registry: CollectorRegistry | None = self._registry
        if MULTIPROCESS_FOLDER in os.environ:  # counts of all workers, in files
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
            registry = None
        requests = Counter("twotower_requests", "Requests.", ("route", "status"), registry=registry)
        latency = Histogram(
            "twotower_request_seconds", "Duration.", ("route",), buckets=SECONDS, registry=registry
        )
        # Looking up a series takes longer than counting in it.
        self._series = functools.cache(
            lambda route, status: (requests.labels(route, status), latency.labels(route))
        )
        self._batches = Histogram(
            "twotower_batch_size", "Requests of one forward pass.", buckets=SIZES, registry=registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the pattern of its path, without ids."""
        count, latency = self._series(route, status)
        count.inc()
        latency.observe(seconds)

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batches.observe(size)

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """Yield the metrics of the current bundle and its live changes."""
        retriever = self._live.retriever
        drift = retriever.catalogue.drift()
        yield InfoMetricFamily("twotower_bundle", "The bundle in use.", value={"version": retriever.version})
        for name, text, value in (
            ("items", "Offered items.", retriever.num_items),
            ("live_share", "Share of offered items added after the index was built.", drift.live_share),
            ("removed_share", "Share of indexed items that are no longer offered.", drift.removed_share),
            ("changes_quarantined", "Changes that the bundle cannot apply.", self._live.num_quarantined),
        ):
            yield GaugeMetricFamily(f"twotower_{name}", text, value=float(value))
