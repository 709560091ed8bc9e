"""A service in a process of its own, for the benchmarks and the demo."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twotower.commands.run_demo import READY_SECONDS, free_port, wait_until_ready

SERVE = Path(__file__).parents[1] / "serve.py"


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
