"""How much memory do items take that come and go, and how long does a start with many kept items take?

  python scripts/bench/growth.py                                    over HTTP, the service itself
  python scripts/bench/growth.py --pairs 12000 --items 200000 --bundle outputs/default/<run>

Each pair puts a new item and removes it. The kept items are written to the store while no service runs; then
one is started, until it answers. Without --bundle a small one is trained. The last line is JSON.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from kills import small_run
from kills_services import HttpService

from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.changes import ItemPut

WARM_UP, TOGETHER, SETTLE_SECONDS = 300, 1_000, 10


def memory_mb(process_id: int) -> float:
    """Return the memory that a process has in use, in MB."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def pairs(service: HttpService, first: int, count: int, text: bool) -> None:
    """Put new items and remove them, one after another."""
    connection = service.connect()
    for number in range(first, first + count):
        connection.put(new_id(number, text), f"label {number}")
        connection.remove(new_id(number, text))


def new_id(number: int, text: bool) -> Any:
    """Return an id that no bundle has, of the kind of this one's."""
    return f"new {number}" if text else 10**9 + number


def grown_mb(service: HttpService, count: int, text: bool) -> dict[str, float]:
    """Return by how much a service that has started grows while items come and go."""
    pairs(service, 0, WARM_UP, text)
    process_id = service._process.pid
    before, most = memory_mb(process_id), 0.0
    for first in range(WARM_UP, WARM_UP + count, TOGETHER):
        pairs(service, first, min(TOGETHER, WARM_UP + count - first), text)
        most = max(most, memory_mb(process_id))
    time.sleep(SETTLE_SECONDS)  # what is let go of is let go of every few seconds
    after = memory_mb(process_id)
    return {
        "mb_before": before,
        "mb_grown": round(after - before, 1),
        "mb_grown_most": round(most - before, 1),
    }


def start_seconds(service: HttpService, store: Path, count: int, text: bool) -> float:
    """Return how long a start with many kept items takes."""
    with contextlib.closing(ChangeStore(store)) as kept:
        for first in range(0, count, TOGETHER):
            numbers = range(first, min(count, first + TOGETHER))
            features = {number: {service._label: f"label {number}"} for number in numbers}
            kept.commit([ItemPut(new_id(number, text), features[number]) for number in numbers])
    seconds = service.start()
    service.kill()
    return round(seconds, 1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--bundle", type=Path, help="a run's folder, or a bundle")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bundle = chosen.bundle or small_run(Path(name))
        service = HttpService(bundle, Path(name) / "pairs.sqlite")
        service.start()
        try:
            text = isinstance(next(iter(service.connect().offered(None))), str)
            figures = {"pairs": chosen.pairs, **grown_mb(service, chosen.pairs, text)}
        finally:
            service.kill()
        store = Path(name) / "kept.sqlite"
        for count in (0, chosen.items):
            seconds = start_seconds(HttpService(bundle, store), store, count, text)
            figures[f"start_seconds_{count}"] = seconds
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
