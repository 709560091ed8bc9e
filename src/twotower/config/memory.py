"""The memory that this process may use, and the message if settings need more."""

import contextlib
import os
import resource
from pathlib import Path

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def usable_bytes() -> int:
    """Return the memory of the machine, or the limit of a container or `ulimit -v` if it is lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    with contextlib.suppress(OSError, ValueError):  # no limit, or the word max
        limits.append(int(CONTAINER_LIMIT.read_text(encoding="ascii")))
    return min(limits)


def memory_problem(what: str, num_bytes: float) -> str | None:
    """Return a message if something exceeds the memory, else None.

    Args:
        what: number and name, such as `2,000 weights`.
    """
    usable = usable_bytes()
    if num_bytes <= usable:
        return None
    return f"{what} take about {num_bytes / 1e9:,.1f} GB, and this process may use {usable / 1e9:,.1f} GB"
