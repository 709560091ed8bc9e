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

from kills import _small_run
from kills_services import HttpService

from twotower.serving.live.changes import ItemPut
from twotower.serving.live.store import Store

WARM_UP, TOGETHER, SETTLE_SECONDS = 300, 1_000, 10


def memory_mb(process_id: int) -> float:
    """Return the memory that a process has in use, in MB."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def pairs(service: HttpService, first: int, count: int) -> None:
    """Put new items and remove them, one after another."""
    connection = service.connect()
    for number in range(first, first + count):
        connection.put(item_id(service, number), f"label {number}")
        connection.remove(item_id(service, number))


def item_id(service: HttpService, number: int) -> Any:
    """Return a new id of the kind of the bundle's."""
    known = next(iter(service.connect().offered(None))) if not hasattr(service, "known") else service.known
    service.known = known  # type: ignore[attr-defined]
    return f"new {number}" if isinstance(known, str) else 10**9 + number


def grown_mb(service: HttpService, count: int) -> dict[str, float]:
    """Return by how much a service grows while items come and go."""
    service.start()
    pairs(service, 0, WARM_UP)
    process_id = service._process.pid
    before, most = memory_mb(process_id), 0.0
    for first in range(WARM_UP, WARM_UP + count, TOGETHER):
        pairs(service, first, min(TOGETHER, WARM_UP + count - first))
        most = max(most, memory_mb(process_id))
    time.sleep(SETTLE_SECONDS)  # what is let go of is let go of every few seconds
    after = memory_mb(process_id)
    service.kill()
    return {
        "mb_before": before,
        "mb_grown": round(after - before, 1),
        "mb_grown_most": round(most - before, 1),
    }


def start_seconds(service: HttpService, store: Path, label: str, count: int) -> float:
    """Return how long a start with many kept items takes."""
    with contextlib.closing(Store(store)) as kept:
        for first in range(0, count, TOGETHER):
            numbers = range(first, min(count, first + TOGETHER))
            kept.commit([ItemPut(item_id(service, number), {label: f"label {number}"}) for number in numbers])
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
        bundle = chosen.bundle or _small_run(Path(name))
        service = HttpService(bundle, Path(name) / "pairs.sqlite")
        figures: dict[str, Any] = {"pairs": chosen.pairs, **grown_mb(service, chosen.pairs)}
        store = Path(name) / "kept.sqlite"
        again = HttpService(bundle, store)
        again.known = service.known  # type: ignore[attr-defined]
        for count in (0, chosen.items):
            figures[f"start_seconds_{count}"] = start_seconds(again, store, again._label, count)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
