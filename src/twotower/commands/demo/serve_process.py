"""A service in a separate process: a free port, and waiting until it is ready."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

SERVE = (sys.executable, "-m", "twotower", "serve")
PATIENCE_SECONDS = 600.0


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until a service answers. Raises SystemExit: it ended, or did not answer in time."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the service ended with {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}/readyz", timeout=5)
            return
        time.sleep(0.1)
    raise SystemExit(f"the service was not ready within {PATIENCE_SECONDS:g} seconds")
