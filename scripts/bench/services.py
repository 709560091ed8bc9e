"""Tables of the service: requests per second, and metrics of a run as its clients get them.

`requests`: the retriever alone, in this process: random known users, one request at a time and 64 at a time.
And the same requests as POST /recommend over loopback to scripts/serve.py in a process of its own, from 1, 8
and 64 connections that ask without a pause, and from 64 that together ask at 60 % of the rate one by one. All
take turns, and medians over rounds are kept, of ratios too. Without pauses 64 requests always wait, so the
mean latency is 64 / rate whatever the service does. The client is `wrk` (Debian: apt install wrk), which
shares the machine; processor time per request depends less on what else runs.
"""

import contextlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import trainings
from record import OUTPUTS, ROOT, Figures, Line, Row, Table, markdown

from twotower.bundle.manifest import bundle_in
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import RetrievalDataset
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.ranking import item_popularity
from twotower.experiments.runs.result import read_result
from twotower.experiments.runs.run import Run
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

READY_SECONDS, ROUNDS, SECONDS = 600.0, 3, 4
TOLERANCE = 1e-5
"""Two items whose scores are equal to float32 may be in another order."""


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until a service answers. Raises SystemExit: it ended, or did not answer in time."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the service ended with {process.returncode}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/readyz", timeout=5)
            return
        time.sleep(0.1)
    raise SystemExit(f"the service was not ready within {READY_SECONDS:g} seconds")


@contextlib.contextmanager
def serving(bundle: Path, *overrides: str) -> Iterator[str]:
    """Run `scripts/serve.py` on a free port; yield its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    script = str(ROOT / "scripts" / "serve.py")
    command = [sys.executable, script, f"bundle={bundle}", f"port={port}", 'store=""', *overrides]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(process, url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=READY_SECONDS)


NUM_USERS, BATCH, BATCH_OF_HTTP, PACE = 2000, 64, 128, 0.6
WORKERS = ", workers"
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


def alone(retriever: Retriever, requests: list[Request], size: int) -> Measured:
    """Measure the retriever alone, `size` requests at a time."""
    took: list[float] = []
    start, place, cpu = time.perf_counter(), 0, time.process_time()
    while (before := time.perf_counter()) - start < SECONDS:
        retriever.answer(requests[place : place + size])
        took.append(time.perf_counter() - before)
        place = (place + size) % (len(requests) - size)
    cpu, number = time.process_time() - cpu, len(took) * size
    p50, p95, p99 = np.percentile(took, (50, 95, 99)) * 1000
    return Measured(number / sum(took), cpu / number * 1e6, p50, p95, p99)


def over_http(url: str, script: Path, connections: int) -> Measured:
    """Measure the service with requests as a script for wrk makes them."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script), url]
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


def a_round(retriever: Retriever, requests: list[Request], urls: dict[str, str]) -> dict[str, Measured]:
    """Measure everything once; `urls` are services by what is said behind a stream's name."""
    found = {name: alone(retriever, requests, size) for name, size in ((ONE, 1), (SEVERAL, BATCH))}
    listed = ",".join(f"[=[{orjson.dumps({'user_id': r.user_id, 'k': r.k}).decode()}]=]" for r in requests)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        for name, (connections, pace) in STREAMS.items():
            for suffix, url in urls.items():
                pause = (
                    connections / (pace * found[ONE].rate) * 1000 if pace else 0.0
                )  # ms of each connection
                Path(script.name).write_text(SCRIPT % (listed, pause), encoding="utf-8")
                found[name + suffix] = over_http(url, Path(script.name), connections)
    return found


def median(found: Sequence[Measured]) -> Measured:
    """Return the median of each figure; failures add up."""
    of = {each.name: [getattr(one, each.name) for one in found] for each in fields(Measured)}
    failed = sum(of.pop("failed"))
    return Measured(**{name: statistics.median(values) for name, values in of.items()}, failed=failed)


RATIOS: dict[str, Callable[[dict[str, Measured]], float]] = {
    "rate, 64 busy / 64 at a time": lambda each: each[MOST].rate / each[SEVERAL].rate,
    "processor, 64 at a time / 64 busy": lambda each: each[SEVERAL].cpu_us / each[MOST].cpu_us,
    "paced p99 / p50 one by one": lambda each: each[PACED].p99 / each[ONE].p50,
    "paced p99 / p99 one by one": lambda each: each[PACED].p99 / each[ONE].p99,
    "rate, 64 busy, workers / one": lambda each: each[MOST + WORKERS].rate / each[MOST].rate,
    "processor, one / workers": lambda each: each[MOST].cpu_us / each[MOST + WORKERS].cpu_us,
}
"""Of the figures of one round."""


def default_run(*words: str) -> Path:
    """Return a run that has been trained for these tables."""
    name = "default" if not words else "_".join(words)
    found = sorted((OUTPUTS / "services" / "seed42" / name).glob("*/result.json"))
    return found[-1].parent if found else trainings.trained(name, words, 42, OUTPUTS / "services")


def measure_requests(row: Row, seed: int) -> Figures:
    """Measure a service of one worker and one of several, next to the retriever alone."""
    bundle = bundle_in(default_run())
    retriever = Retriever.open(bundle)
    users = random.Random(0).choices(retriever.user_ids, k=NUM_USERS)
    requests = [Request(user_id=user, k=int(row.words[0])) for user in users]
    retriever.answer(requests[:BATCH])
    with contextlib.ExitStack() as stack:
        urls = {
            "": stack.enter_context(serving(bundle, "console=quiet")),
            WORKERS: stack.enter_context(serving(bundle, "console=quiet", f"workers={row.words[1]}")),
        }
        rounds = [a_round(retriever, requests, urls) for _ in range(ROUNDS)]
    medians = {name: asdict(median([each[name] for each in rounds])) for name in rounds[0]}
    return {
        "streams": medians,
        "ratios": {name: statistics.median(map(of, rounds)) for name, of in RATIOS.items()},
    }


def show_requests(lines: Sequence[Line]) -> str:
    """Return a row for each stream."""
    rows = [{"stream": name, **each} for line in lines for name, each in line.figures["streams"].items()]
    ratios = {name: round(ratio, 2) for line in lines for name, ratio in line.figures["ratios"].items()}
    table = pd.DataFrame(rows).map(lambda value: f"{value:.4g}" if isinstance(value, float) else value)
    return f"{markdown(table)}\n\n{ratios}"


def ask_batch(url: str, requests: list[dict[str, Any]]) -> list[list[Any]]:
    """Return the ids of the items that each request is answered with, best first."""
    body = orjson.dumps({"requests": requests})
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/recommend/batch", body, headers)) as answer:
        answers = orjson.loads(answer.read())["answers"]
    return [[each["item_id"] for each in found["items"]] for found in answers]


def top_rows(url: str, dataset: RetrievalDataset, evaluator: Evaluator) -> np.ndarray:
    """Return the item rows [Q, max_k] that the service recommends to the users of the test split."""
    k = evaluator.max_k
    users = dataset.users.values[dataset.test.users - 1].tolist()
    requests = [
        {"user_id": user, "k": k, "request_time": time, "exclude_seen": evaluator.config.filter_seen}
        for user, time in zip(users, dataset.test.request_times.tolist(), strict=True)
    ]
    rows = np.zeros((len(requests), k), dtype=np.int64)
    for start in range(0, len(requests), BATCH_OF_HTTP):
        for place, ids in enumerate(ask_batch(url, requests[start : start + BATCH_OF_HTTP]), start):
            rows[place, : len(ids)] = dataset.items.rows(ids)
    return rows


def compare(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return a run's test metrics as its result.json has them, and as clients of the service get them."""
    run = Run.open(folder)
    settings, result = run.settings, read_result(run.folder)
    if result is None:
        raise SystemExit(f"{folder}: the run has not ended")
    cache = Path(settings["output_root"]) / ".cache"
    dataset = build_dataset(
        Source.Config.model_validate(settings["data"]).build(),
        Split.Config.model_validate(settings["split"]).build(),
        cache,
    )
    evaluator = Evaluator.Config.model_validate(settings["metrics"]).build()
    with serving(folder, "console=quiet", f"max_batch={BATCH_OF_HTTP}") as url:
        rows = top_rows(url, dataset, evaluator)
    popularity = item_popularity(dataset.train_and_valid, len(dataset.items))
    means, _ = evaluator.means_and_values(rows, dataset.test, popularity)
    told = {f"test/{key}": value for key, value in means.items()}
    return {key: result.metrics[key] for key in told}, told


def measure_http(row: Row, seed: int) -> Figures:
    """Return the metrics of result.json, and the largest difference to those of clients of the service."""
    recorded, told = compare(default_run(*row.words))
    return {"metrics": recorded, "largest_difference": max(abs(told[key] - recorded[key]) for key in told)}


TABLES = {
    "requests": Table(
        "serve.md",
        lambda: [Row("k=10, 2 workers", ("10", "2"), minutes=3)],
        measure_requests,
        show_requests,
    ),
    "through_http": Table(
        "serve.md", lambda: [Row("default"), Row("exact index", ("index=flat_ip",))], measure_http
    ),
}
