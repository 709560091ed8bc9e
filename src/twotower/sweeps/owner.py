"""Who works on something, and whether that process still lives."""

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEAT_SECONDS, LOST_SECONDS, OBSERVE_SECONDS = 10.0, 90.0, 25.0
"""How often an owner gives word; how old a word raises doubt; how long to watch for a new one then."""


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other, on any host, and this call from the next."""
    return {"place": place(), "pid": os.getpid(), "started": started(os.getpid()), "token": uuid.uuid4().hex}


def place() -> str:
    """Return the host, its boot and its name space of processes: where a process id means something."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.is_file():
        parts.append(boot.read_text(encoding="utf-8").strip())
    if space.is_symlink():
        parts.append(str(space.readlink()))
    return " ".join(parts)


def started(pid: int) -> str | None:
    """Return when a process on this host started, or None if there is none; ids are used again."""
    if Path("/proc/self/stat").is_file():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        state, *fields = text.rpartition(")")[2].split()  # the name before may hold anything
        return None if state in "ZX" else fields[18]
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None


class Watchman:
    """Tells the dead from the living by their process, or by their heartbeat where that is on another host.

    The clocks of two hosts may differ: an old heartbeat alone proves nothing. One that is old and does not
    change while it is watched does.
    """

    def __init__(self) -> None:
        self.here = place()
        self.seen: dict[str, tuple[float, float]] = {}

    def is_dead(self, owner: Mapping[str, Any], heartbeat: float) -> bool | None:
        """Return whether an owner is dead, None while it is not known; ask again then.

        Args:
            owner: of `this_process`, there.
            heartbeat: seconds since the epoch, by the owner's clock.
        """
        if owner["place"] == self.here:
            return bool(started(owner["pid"]) != owner["started"])
        if abs(time.time() - heartbeat) <= LOST_SECONDS:
            return False
        now = time.monotonic()
        last, since = self.seen.setdefault(owner["token"], (heartbeat, now))
        if last != heartbeat:
            self.seen[owner["token"]] = heartbeat, now
            return False
        return True if now - since >= OBSERVE_SECONDS else None
