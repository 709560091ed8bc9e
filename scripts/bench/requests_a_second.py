"""How much of the towers' and the index's own speed does a client of the service see?

  python scripts/bench/requests_a_second.py outputs/default/<time>
  python scripts/bench/requests_a_second.py outputs/default/<time> --before ../checkout-of-an-earlier-commit

About a minute and a half, with `--before` two; needs `wrk` (Debian: apt install wrk).

The retriever alone, in this process: random known users, one request at a time and 64 at a time. And the same
requests as POST /recommend over loopback to scripts/serve.py in a process of its own, from 1, 8 and 64
connections that ask without a pause, and from 64 that together ask at 60 % of the rate one by one. All take
turns, `--rounds` times, and medians are told, of ratios too: those of the figures of one round. Without
pauses 64 requests always wait, so the mean latency is 64 / rate whatever the service does. The client and the
service share the machine; processor time a request is told because it depends less on what else runs.
"""

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import orjson

import twotower  # noqa: F401  # sets threads before torch loads

os.environ.setdefault("OMP_NUM_THREADS", "1")

from record import write
from service import serving

from twotower.bundle.manifest import bundle_in
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

NUM_USERS, BATCH, PACE = 2000, 64, 0.6
BEFORE = ", before"
# Prints the rate, the latencies in microseconds and what failed.
SCRIPT = """
local bodies = {%s}
local place = 0
request = function()
  place = place %% #bodies + 1
  return wrk.format("POST", "/recommend", {["Content-Type"] = "application/json"}, bodies[place])
end
local pause = %f
if pause > 0 then
  delay = function() return math.random() * 2 * pause end
end
done = function(summary, latency, _)
  local errors = summary.errors
  io.write(string.format("RESULT %%f %%d %%d %%d %%d %%d\\n", summary.requests / summary.duration * 1e6,
    summary.requests, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True)
class Measured:
    """What was seen of a stream of requests: a second, processor microseconds each, latencies in ms."""

    rate: float
    cpu_us: float
    p50: float
    p95: float
    p99: float
    failed: int = 0

    def told(self, what: str) -> str:
        """Return a line of the report."""
        latencies = f"p50 {self.p50:.2f}  p95 {self.p95:.2f}  p99 {self.p99:.2f} ms"
        failed = f"  {self.failed} FAILED" if self.failed else ""
        rate = f"{self.rate:7,.0f} requests/s  {self.cpu_us:5,.0f} us of processor"
        return f"{what:<22} {rate}  {latencies}{failed}"


def alone(retriever: Retriever, requests: list[Request], size: int, seconds: float) -> Measured:
    """Measure the retriever alone, `size` requests at a time."""
    took: list[float] = []
    start, place, cpu = time.perf_counter(), 0, time.process_time()
    while (before := time.perf_counter()) - start < seconds:
        retriever.answer(requests[place : place + size])
        took.append(time.perf_counter() - before)
        place = (place + size) % (len(requests) - size)
    cpu, number = time.process_time() - cpu, len(took) * size
    p50, p95, p99 = np.percentile(took, (50, 95, 99)) * 1000
    return Measured(number / sum(took), cpu / number * 1e6, p50, p95, p99)


def over_http(url: str, script: Path, connections: int, seconds: int) -> Measured:
    """Measure the service with requests as a script for wrk makes them."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    before = cpu_seconds(url)
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(url) - before
    (line,) = (line for line in printed.splitlines() if line.startswith("RESULT"))
    rate, number, p50, p95, p99, failed = (float(each) for each in line.split()[1:])
    return Measured(rate, cpu / number * 1e6, p50 / 1000, p95 / 1000, p99 / 1000, int(failed))


def cpu_seconds(url: str) -> float:
    """Return the processor seconds that the service has used so far."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("process_cpu_seconds_total"))


STREAMS: dict[str, tuple[int, float]] = {
    "HTTP, 1 busy": (1, 0.0),
    "HTTP, 8 busy": (8, 0.0),
    "HTTP, 64 busy": (64, 0.0),
    "HTTP, 64 paced": (64, PACE),
}
"""Connections, and the share of the rate one by one at which they ask; 0 for as fast as they can."""
ONE, SEVERAL, MOST, PACED = (
    "alone, one by one",
    f"alone, {BATCH} at a time",
    "HTTP, 64 busy",
    "HTTP, 64 paced",
)


def a_round(
    retriever: Retriever, requests: list[Request], urls: dict[str, str], seconds: int
) -> dict[str, Measured]:
    """Measure everything once; `urls` are services by what is said behind a stream's name."""
    found = {name: alone(retriever, requests, size, seconds) for name, size in ((ONE, 1), (SEVERAL, BATCH))}
    listed = ",".join(f"[=[{orjson.dumps({'user_id': r.user_id, 'k': r.k}).decode()}]=]" for r in requests)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        for name, (connections, pace) in STREAMS.items():
            for suffix, url in urls.items():
                pause = (
                    connections / (pace * found[ONE].rate) * 1000 if pace else 0.0
                )  # ms of each connection
                Path(script.name).write_text(SCRIPT % (listed, pause), encoding="utf-8")
                found[name + suffix] = over_http(url, Path(script.name), connections, seconds)
    return found


def median(found: Sequence[Measured]) -> Measured:
    """Return the median of each figure; failures add up."""
    of = {each.name: [getattr(one, each.name) for one in found] for each in fields(Measured)}
    failed = sum(of.pop("failed"))
    return Measured(**{name: statistics.median(values) for name, values in of.items()}, failed=failed)


def ratios(rounds: Sequence[dict[str, Measured]]) -> dict[str, float]:
    """Return medians over rounds of what one figure is of another."""
    told: dict[str, Callable[[dict[str, Measured]], float]] = {
        "rate, 64 busy / 64 at a time": lambda each: each[MOST].rate / each[SEVERAL].rate,
        "processor, 64 at a time / 64 busy": lambda each: each[SEVERAL].cpu_us / each[MOST].cpu_us,
        "paced p99 / p50 one by one": lambda each: each[PACED].p99 / each[ONE].p50,
        "paced p99 / p99 one by one": lambda each: each[PACED].p99 / each[ONE].p99,
    }
    if MOST + BEFORE in rounds[0]:
        told |= {
            "rate, 64 busy / before": lambda each: each[MOST].rate / each[MOST + BEFORE].rate,
            "processor, before / 64 busy": lambda each: each[MOST + BEFORE].cpu_us / each[MOST].cpu_us,
            "p99, before / paced": lambda each: each[PACED + BEFORE].p99 / each[PACED].p99,
        }
    return {name: statistics.median(map(of, rounds)) for name, of in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=int, default=4, help="for each figure of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="a checkout whose service is measured too")
    parser.add_argument("-k", type=int, default=10, help="items in an answer")
    parser.add_argument("--console", default="quiet", help="how the service logs requests")
    given = parser.parse_args()
    bundle = bundle_in(given.bundle)
    retriever = Retriever.open(bundle)
    users = random.Random(0).choices(retriever.user_ids, k=NUM_USERS)
    requests = [Request(user_id=user, k=given.k) for user in users]
    retriever.answer(requests[:BATCH])
    print(f"{retriever.num_items:,} items, {len(retriever.user_ids):,} users, k={given.k}")
    with contextlib.ExitStack() as stack:
        urls = {"": stack.enter_context(serving(bundle, f"console={given.console}"))}
        if given.before is not None:
            earlier = serving(bundle, f"console={given.console}", checkout=given.before.resolve())
            urls[BEFORE] = stack.enter_context(earlier)
        rounds = [a_round(retriever, requests, urls, given.seconds) for _ in range(given.rounds)]
    medians = {name: median([each[name] for each in rounds]) for name in rounds[0]}
    for name, found in medians.items():
        print(found.told(name))
    shares = ratios(rounds)
    for name, share in shares.items():
        print(f"{name:<36} {share:5.2f}")
    print(f"load {os.getloadavg()[0]:.1f}")
    write("service", {**{name: asdict(each) for name, each in medians.items()}, "ratios": shares})


if __name__ == "__main__":
    main()
