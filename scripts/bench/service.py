"""A service in a process of its own, for the benchmarks."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SERVE = Path(__file__).parents[1] / "serve.py"
READY_SECONDS = 600.0


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
def serving(bundle: Path, *overrides: str, checkout: Path | None = None) -> Iterator[str]:
    """Run `scripts/serve.py`, of another checkout if one is named, on a free port; yield its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    script = SERVE if checkout is None else checkout / "scripts" / SERVE.name
    command = [sys.executable, str(script), f"bundle={bundle}", f"port={port}", 'store=""', *overrides]
    environment = dict(os.environ)
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout / "src")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        wait_until_ready(process, url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=READY_SECONDS)
