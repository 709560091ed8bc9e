"""What GET /metrics tells, as Prometheus reads it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from twotower.serving.live.service import LiveService

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts requests and batches, and reads the state of the service when it is asked."""

    def __init__(self, live: LiveService) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(live))
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "twotower_requests", "Requests answered.", ("route", "status"), registry=self._registry
        )
        self._latency = Histogram(
            "twotower_request_seconds",
            "From the first byte of a request's body to the last of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "twotower_batch_size",
            "Requests that one forward pass answered.",
            buckets=SIZES,
            registry=self._registry,
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is its pattern, so that ids make no series of their own."""
        self._requests.labels(route, status).inc()
        self._latency.labels(route).observe(seconds)

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batches.observe(size)

    def text(self) -> bytes:
        """Return all figures in the text format."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, live: LiveService) -> None:
        self._live = live

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
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
            ("changes_set_aside", "Kept changes that this bundle cannot take.", self._live.num_set_aside),
        ):
            yield GaugeMetricFamily(f"twotower_{name}", text, value=float(value))
