"""Where the time of something goes: each watched function's own time, and a trace for a viewer.

A function's time is its own: what a watched one spends in another watched one counts for that.
"""

import functools
import importlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Part:
    """What one label took.

    Attributes:
        seconds: by the clock, of its own.
        processor: seconds of this process, all threads, of its own.
        calls: how many.
    """

    seconds: float = 0.0
    processor: float = 0.0
    calls: int = 0


@dataclass
class Parts:
    """The parts of what is measured, and every span of them for `chrome://tracing` or ui.perfetto.dev."""

    parts: dict[str, Part] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    _open: list[list[float]] = field(default_factory=list)

    @contextmanager
    def part(self, label: str) -> Iterator[None]:
        """Time what is within."""
        inner = [0.0, 0.0]  # seconds and processor seconds of the watched calls within
        self._open.append(inner)
        began, used = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            took, spent = time.perf_counter() - began, time.process_time() - used
            self._open.pop()
            if self._open:
                self._open[-1][0] += took
                self._open[-1][1] += spent
            part = self.parts.setdefault(label, Part())
            part.seconds += took - inner[0]
            part.processor += spent - inner[1]
            part.calls += 1
            span = {"name": label, "ph": "X", "ts": began * 1e6, "dur": took * 1e6, "pid": 0, "tid": 0}
            self.spans.append(span)

    def watch(self, targets: Mapping[str, str]) -> None:
        """Replace functions by ones that are timed, for as long as the process lives.

        Args:
            targets: "module:Class.method" or "module:function", as its caller finds it -> label. One that is
                not there is listed in `missing`: code moves on, and a profile should still be had.
        """
        for target, label in targets.items():
            module, _, path = target.partition(":")
            *owners, name = path.split(".")
            try:
                owner = functools.reduce(getattr, owners, importlib.import_module(module))
                setattr(owner, name, self._timed(getattr(owner, name), label))
            except (ImportError, AttributeError):
                self.missing.append(target)

    def _timed(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(label):
                return function(*args, **kwargs)

        return timed

    def table(self) -> str:
        """Return the parts, the longest first."""
        total = sum(part.seconds for part in self.parts.values())
        lines = [f"{'part':44} {'seconds':>9} {'share':>6} {'processor':>9} {'calls':>7} {'ms a call':>9}"]
        for label, part in sorted(self.parts.items(), key=lambda each: -each[1].seconds):
            share, each = part.seconds / max(total, 1e-9), part.seconds / part.calls * 1e3
            figures = f"{part.seconds:9.3f} {share:6.1%} {part.processor:9.3f} {part.calls:7d} {each:9.2f}"
            lines.append(f"{label:44} {figures}")
        lines.append(f"{'all':44} {total:9.3f}")
        return "\n".join([*lines, *(f"not there: {target}" for target in self.missing)])

    def figures(self) -> dict[str, dict[str, float]]:
        """Return label -> figures."""
        return {label: dict(vars(part)) for label, part in self.parts.items()}

    def write_trace(self, path: Path) -> None:
        """Write all spans as a Chrome trace."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"traceEvents": self.spans}))
