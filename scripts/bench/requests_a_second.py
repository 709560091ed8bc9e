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
  io.write(string.format("RESULT %%f %%d %%d %%d %%d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(95), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def raw(retriever: Retriever, requests: list[Request], size: int, seconds: float) -> tuple[float, np.ndarray]:
    """Return requests a second of the retriever alone, and the seconds that each batch took."""
    took: list[float] = []
    start, place = time.perf_counter(), 0
    while (before := time.perf_counter()) - start < seconds:
        retriever.answer(requests[place : place + size])
        took.append(time.perf_counter() - before)
        place = (place + size) % (len(requests) - size)
    return len(took) * size / sum(took), np.array(took)


def over_http(url: str, script: Path, connections: int, seconds: float) -> tuple[float, list[float], int]:
    """Return requests a second, the latencies (50, 95, 99 %) in ms, and how many requests failed."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, *latencies, failed = next(line for line in told.splitlines() if line.startswith("RESULT")).split()[
        1:
    ]
    return float(rate), [int(each) / 1000 for each in latencies], int(failed)


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
    single, took = raw(retriever, requests, 1, given.seconds)
    cost = float(np.median(took)) * 1000
    batched, _ = raw(retriever, requests, BATCH, given.seconds)
    print(f"{retriever.num_items:,} items, {len(retriever.user_ids):,} users, k={given.k}")
    print(
        f"alone, one by one      {single:8,.0f} requests/s   "
        f"p50 {cost:.3f} p99 {np.percentile(took, 99) * 1000:.3f} ms"
    )
    print(f"alone, {BATCH} at a time    {batched:8,.0f} requests/s")
    bodies = [orjson.dumps({"user_id": user, "k": given.k}).decode() for user in users]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        listed = ",".join(f"[=[{body}]=]" for body in bodies)
        with serving(bundle, f"console={given.console}") as url:
            for connections, pace in (*((each, 0.0) for each in CONNECTIONS), (CONNECTIONS[-1], PACE)):
                pause = connections / (pace * single) * 1000 if pace else 0.0  # ms of each connection
                Path(script.name).write_text(SCRIPT % (listed, pause), encoding="utf-8")
                rate, (p50, p95, p99), failed = over_http(url, Path(script.name), connections, given.seconds)
                told = "paced " if pace else "busy  "
                print(
                    f"HTTP, {connections:>2} {told}         {rate:8,.0f} requests/s   "
                    f"p50 {p50:.2f} p95 {p95:.2f} p99 {p99:.2f} ms   {failed} failed   "
                    f"{rate / single:.0%} of one by one, p99 {p99 / cost:.1f} x its p50",
                    flush=True,
                )


if __name__ == "__main__":
    main()
