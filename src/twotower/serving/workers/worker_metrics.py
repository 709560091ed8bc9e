"""Figures of all workers together, those of workers that ended too, so that no counter ever falls."""

import functools
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from twotower.serving.http.metrics import Metrics, ServiceGauges
from twotower.serving.live.live_service import LiveService
from twotower.serving.workers.shared import Shared

START = "process_start_time_seconds"


class SharedMetrics(Metrics):
    """Counts of all workers, what the system says of their processes, and the bundle as this one has it."""

    def __init__(self, live: LiveService, shared: Shared) -> None:
        super().__init__(live)
        self._all = CollectorRegistry()
        self._all.register(ServiceGauges(live))
        self._all.register(_Processes(shared))
        MultiProcessCollector(self._all, str(shared.figures))  # type: ignore[no-untyped-call]

    def text(self) -> bytes:
        """Return all figures in the text format."""
        return generate_latest(self._all)


class _Processes(Collector):
    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Add up what there is of each process; they began when the first of them did."""
        found: dict[str, list[Metric]] = {}
        for process in self._shared.processes():
            for each in ProcessCollector(pid=functools.partial(int, process), registry=None).collect():
                found.setdefault(each.name, []).append(each)
        for name, same in found.items():
            values = [each.samples[0].value for each in same]
            (total,) = same[0].samples
            same[0].samples = [total._replace(value=min(values) if name == START else sum(values))]
            yield same[0]
