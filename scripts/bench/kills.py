"""Does the service keep what it acknowledged, whenever it is killed?

  python scripts/bench/kills.py --kills 100                       over HTTP, the service itself
  python scripts/bench/kills.py --kills 100 --bundle outputs/default/<run>     of at most 900 items
  python scripts/bench/kills.py --kills 100 --inside              without HTTP: the part that writes, alone

Clients read, put items, remove items and add events at random. At a random moment the process gets SIGKILL
(one time in ten while it starts), is started again and must be as its clients know it: every item offered,
with the label of its latest acknowledged change, or removed; every event in its user's history; of what was
under way either all or nothing; no id that was never sent. Without --bundle a small one is trained. The last
line is JSON; the exit status is 1 if anything was lost.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from kills_clients import ACTIONS, Client, Service  # noqa: E402
from kills_services import HttpService, InsideService  # noqa: E402

SHARE_AT_START = 0.1


def rounds(
    service: Service,
    num_kills: int,
    seed: int,
    most_load_seconds: float = 0.8,
    num_clients: int = 4,
    least_acknowledged: int = 0,
) -> dict[str, Any]:
    """Kill a service again and again.

    Args:
        service: has not been started.
        num_kills: at random moments.
        seed: of the moments and of what the clients do.
        most_load_seconds: from when the clients begin to the kill.
        num_clients: who ask at the same time.
        least_acknowledged: no kill comes before the clients were told so often that something is done.

    Returns:
        The figures; `violations` says what was not as it must be.
    """
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    violations: list[str] = []
    starts = [service.start()]
    clients = [Client(number, num_clients, service, seed) for number in range(num_clients)]
    for kill in range(num_kills):
        if kill and rng.random() < SHARE_AT_START:
            service.kill()
            service.begin()
            time.sleep(rng.uniform(0, max(starts)))
            done["kills while starting"] += 1
        else:
            _load(clients, service, rng.uniform(0.02, most_load_seconds), least_acknowledged)
        service.kill()
        starts.append(service.start())
        for client in clients:
            violations += [f"kill {kill + 1}: {problem}" for problem in client.problems_after_a_start()]
    service.kill()
    for client in clients:
        done.update(client.done)
    return {
        "kills": num_kills,
        **done,
        "start_seconds_median": round(statistics.median(starts), 2),
        "start_seconds_max": round(max(starts), 2),
        "violations": violations,
    }


def _load(clients: Sequence[Client], service: Service, seconds: float, least: int) -> None:
    """Have all clients work for a while and kill the service in the middle of it."""
    before = _num_acknowledged(clients)
    threads = [threading.Thread(target=client.work_until_gone) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    while _num_acknowledged(clients) < before + least and any(thread.is_alive() for thread in threads):
        time.sleep(0.001)
    service.kill()
    for thread in threads:
        thread.join()


def _num_acknowledged(clients: Sequence[Client]) -> int:
    return sum(client.done[f"acknowledged: {action}"] for client in clients for action in ACTIONS)


def small_run(folder: Path) -> Path:
    """Train a run of few items, so that one answer can hold them all."""
    choices = ["data=synthetic", "features=synthetic", "trainer=smoke", "console=quiet"]
    sizes = ["data.num_users=300", "data.num_items=200", "data.num_interactions=5000"]
    where = [f"output_root={folder}", "name=kills"]
    subprocess.run([sys.executable, ROOT / "scripts" / "train.py", *choices, *sizes, *where], check=True)
    (run,) = (folder / "kills").iterdir()
    return run


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--bundle", type=Path, help="a run's folder, or a bundle")
    parser.add_argument("--inside", action="store_true", help="without HTTP")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bundle = chosen.bundle or small_run(Path(name))
        kind = InsideService if chosen.inside else HttpService
        figures = rounds(kind(bundle, Path(name) / "live.sqlite"), chosen.kills, chosen.seed)
    print(json.dumps(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
