"""How much of the towers' and the index's own speed does a client of the service see?

  python scripts/bench/requests_a_second.py outputs/default/<time>

About a minute; needs `wrk` (Debian: apt install wrk).

First the retriever alone, in this process: random known users, one request at a time and 64 at a time. Then
the same requests as POST /recommend over loopback to scripts/serve.py in a process of its own, from 1, 8 and
64 connections that ask without a pause, and from 64 that together ask at 60 % of the rate one by one. Without
pauses 64 requests always wait, so the mean latency is 64 / rate whatever the service does. The client and the
service share the machine.
"""

import argparse
import os
import random
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

import twotower  # noqa: F401  # sets threads before torch loads

os.environ.setdefault("OMP_NUM_THREADS", "1")

from service import serving

from twotower.bundle.export import exported_beside
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

NUM_USERS, BATCH, CONNECTIONS, PACE = 2000, 64, (1, 8, 64), 0.6
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
        return f"{what:<20} {rate}  {latencies}{failed}"


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


def over_http(url: str, script: Path, connections: int, seconds: float) -> Measured:
    """Measure the service with requests as a script for wrk makes them."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), url]
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each figure")
    parser.add_argument("-k", type=int, default=10, help="items in an answer")
    parser.add_argument("--console", default="quiet", help="how the service logs requests")
    given = parser.parse_args()
    bundle = exported_beside(given.bundle)
    retriever = Retriever.open(bundle)
    users = random.Random(0).choices(retriever.user_ids, k=NUM_USERS)
    requests = [Request(user_id=user, k=given.k) for user in users]
    retriever.answer(requests[:BATCH])
    print(f"{retriever.num_items:,} items, {len(retriever.user_ids):,} users, k={given.k}")
    single = alone(retriever, requests, 1, given.seconds)
    print(single.told("alone, one by one"))
    print(alone(retriever, requests, BATCH, given.seconds).told(f"alone, {BATCH} at a time"))
    bodies = [orjson.dumps({"user_id": user, "k": given.k}).decode() for user in users]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        listed = ",".join(f"[=[{body}]=]" for body in bodies)
        with serving(bundle, f"console={given.console}") as url:
            for connections, pace in (*((each, 0.0) for each in CONNECTIONS), (CONNECTIONS[-1], PACE)):
                pause = connections / (pace * single.rate) * 1000 if pace else 0.0  # ms of each connection
                Path(script.name).write_text(SCRIPT % (listed, pause), encoding="utf-8")
                found = over_http(url, Path(script.name), connections, given.seconds)
                print(found.told(f"HTTP, {connections:>2} {'paced' if pace else 'busy'}"), flush=True)
                share = found.rate / single.rate
                print(f"    {share:.0%} of one by one, p99 {found.p99 / single.p50:.1f} x its p50")


if __name__ == "__main__":
    main()
