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

MOST_LINES, MOST_OF_A_PATH = 10_000, 300
PAUSE_SECONDS = 0.2
LINES_PER_WRITE = 8
"""A write of at most 4096 bytes to a pipe is not mixed with writes of other workers."""


class AccessLog:
    """Writes time, client, method, path, status and duration of requests, never a query, header or body."""

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
        now, ms = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), seconds * 1000
        path = path[:MOST_OF_A_PATH]
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
                for start in range(0, len(lines), LINES_PER_WRITE):
                    self._stream.write("".join(lines[start : start + LINES_PER_WRITE]))
                    self._stream.flush()


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the folder where the workers of a service count; `prometheus_client` reads it."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts requests and batches; the state of the service is read when the metrics are."""

    def __init__(self, live: LiveService) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ServiceGauges(live))
        ProcessCollector(registry=self._registry)
        registry: CollectorRegistry | None = self._registry
        if MULTIPROCESS_FOLDER in os.environ:  # counts of all workers, in files
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
            registry = None
        self._requests = Counter(
            "twotower_requests", "Requests answered.", ("route", "status"), registry=registry
        )
        self._latency = Histogram(
            "twotower_request_seconds",
            "From the first byte of a request's body to the last of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        # The look-up of a series takes longer than counting in it.
        self._series = functools.cache(
            lambda route, status: (self._requests.labels(route, status), self._latency.labels(route))
        )
        self._batches = Histogram(
            "twotower_batch_size",
            "Requests that one forward pass answered.",
            buckets=SIZES,
            registry=registry,
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is its pattern, so that ids make no series of their own."""
        count, latency = self._series(route, status)
        count.inc()
        latency.observe(seconds)

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batches.observe(size)

    def text(self) -> bytes:
        """Return all figures in the text format."""
        return generate_latest(self._registry)


class ServiceGauges(Collector):
    """What the bundle in use is like when somebody asks."""

    def __init__(self, live: LiveService) -> None:
        self._live = live

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Say nothing beforehand."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """Look at the bundle."""
        retriever = self._live.retriever
        drift = retriever.drift()
        yield InfoMetricFamily("twotower_bundle", "The bundle in use.", value={"version": retriever.version})
        for name, text, value in (
            ("items", "Items that are offered.", retriever.num_items),
            (
                "live_share",
                "Share of the offered items that came after the index was built.",
                drift.live_share,
            ),
            (
                "tombstone_share",
                "Share of the index's rows that are no longer offered.",
                drift.tombstone_share,
            ),
            ("centroid_shift", "How far the mean embedding has moved.", drift.centroid_shift),
            (
                "changes_quarantined",
                "Stored changes that this bundle cannot apply.",
                self._live.num_quarantined,
            ),
        ):
            yield GaugeMetricFamily(f"twotower_{name}", text, value=float(value))
