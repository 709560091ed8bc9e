"""Can a client without a key fill the service's memory, or keep others waiting, by asking ahead?

  python scripts/bench/pipelining.py outputs/default/<run> --seconds 20

The service wants keys; the attackers have none and send requests without waiting for answers, in the ways
that `ATTACKS` lists, each for some seconds. Meanwhile another client asks for GET /metrics, one request after
the other. The exit status is 1 where the service's memory grew by more than the bound, or the other client
waited longer than its patience.
"""

import argparse
import contextlib
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from service import serving

KEY = "k" * 32
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SHORTEST = b"GET /healthz HTTP/1.1\r\nHost:localhost\r\n\r\n"
LARGE = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
BURST_BYTES = 1 << 20
GIVES_UP_SECONDS = 600.0


@dataclass(frozen=True)
class Attack:
    """How some connections ask ahead.

    Args:
        request: what is sent again and again.
        connections: at once.
        read_bytes: of answers, at once; 0 to read nothing.
        pause_seconds: between two readings.
    """

    request: bytes = REQUEST
    connections: int = 1
    read_bytes: int = BURST_BYTES
    pause_seconds: float = 0.0


ATTACKS = {
    "bursts, answers read at once": Attack(SHORTEST),
    "answers read slowly": Attack(read_bytes=1024, pause_seconds=0.005),
    "no answer read": Attack(read_bytes=0),
    "large answers read slowly": Attack(LARGE, read_bytes=65_536, pause_seconds=0.005),
    "bodies nobody reads": Attack(POST),
    "32 connections, answers read at once": Attack(SHORTEST, connections=32),
    "32 connections, no answer read": Attack(connections=32, read_bytes=0),
}


@dataclass
class Seen:
    """What attackers sent, and what the other client saw: answers, its longest wait, the service's memory."""

    sent_bytes: int = 0
    answers: int = 0
    unanswered: int = 0
    longest_seconds: float = 0.0
    first_bytes: float = 0.0
    most_bytes: float = 0.0

    @property
    def grown_bytes(self) -> float:
        return self.most_bytes - self.first_bytes

    def ask(self, url: str) -> None:
        """Ask once how much memory the service has."""
        began = time.monotonic()
        request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
        try:
            with urllib.request.urlopen(request, timeout=GIVES_UP_SECONDS) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            self.unanswered += 1
            return
        resident = next(line.split()[1] for line in lines if line.startswith("process_resident_memory_bytes"))
        self.answers += 1
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
        self.first_bytes = self.first_bytes or float(resident)
        self.most_bytes = max(self.most_bytes, float(resident))


@contextlib.contextmanager
def under(attack: Attack, address: tuple[str, int], seen: Seen) -> Iterator[None]:
    """Attack as long as the block lasts."""
    over = threading.Event()
    threads = [
        threading.Thread(target=_keep_asking, args=(attack, address, over, seen))
        for _ in range(attack.connections)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _keep_asking(attack: Attack, address: tuple[str, int], over: threading.Event, seen: Seen) -> None:
    """Send bursts without waiting for answers; connect again where the service has closed."""
    burst = attack.request * (BURST_BYTES // len(attack.request))
    while not over.is_set():
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=30) as client:
            client.setblocking(False)
            _ask_ahead(client, attack, burst, over, seen)
        over.wait(0.05)


def _ask_ahead(
    client: socket.socket, attack: Attack, burst: bytes, over: threading.Event, seen: Seen
) -> None:
    left = memoryview(burst)
    while not over.is_set():
        moved = 0
        with contextlib.suppress(BlockingIOError):
            moved = client.send(left)
            seen.sent_bytes += moved
            left = left[moved:] or memoryview(burst)
        if attack.read_bytes:
            with contextlib.suppress(BlockingIOError):
                received = client.recv(attack.read_bytes)
                if not received:
                    return
                moved += len(received)
        over.wait(attack.pause_seconds if moved else max(attack.pause_seconds, 0.001))


def attacked(url: str, attack: Attack, enough: Callable[[Seen], bool]) -> Seen:
    """Attack a service until another client has seen enough."""
    host, _, port = url.removeprefix("http://").partition(":")
    seen = Seen()
    seen.ask(url)
    with under(attack, (host, int(port)), seen):
        while not enough(seen):
            seen.ask(url)
            time.sleep(0.02)
    return seen


def after(seconds: float) -> Callable[[Seen], bool]:
    """Return what says that it is enough once some seconds are over."""
    until = time.monotonic() + seconds
    return lambda _: time.monotonic() > until


@contextlib.contextmanager
def guarded(bundle: Path) -> Iterator[str]:
    """Serve a bundle to who has a key, and yield the address."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.txt"
        keys.write_text(f"read {KEY}\n", encoding="utf-8")
        with serving(bundle, "console=quiet", f"api_keys_file={keys}") as url:
            yield url


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack")
    parser.add_argument("--grown-mb", type=float, default=50.0, help="that the memory may grow by")
    parser.add_argument("--patience", type=float, default=5.0, help="seconds the other client may wait")
    given = parser.parse_args()
    violations = 0
    for name, attack in ATTACKS.items():
        with guarded(given.bundle) as url:
            seen = attacked(url, attack, after(given.seconds))
        slow = seen.unanswered or seen.longest_seconds > given.patience
        wrong = bool(slow or seen.grown_bytes > given.grown_mb * 1e6)
        violations += wrong
        print(
            f"{name:<38} {seen.sent_bytes / 1e6:7.1f} MB sent, memory +{seen.grown_bytes / 1e6:.1f} MB; "
            f"others: {seen.answers} answers, {seen.unanswered} none, at most {seen.longest_seconds:.2f} s"
            f"{'  VIOLATED' * wrong}",
            flush=True,
        )
    print(f"{len(ATTACKS)} attacks, {violations} violations")
    raise SystemExit(bool(violations))


if __name__ == "__main__":
    main()
