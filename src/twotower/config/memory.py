"""How much memory this process may use, and what to say where settings ask for more."""

import contextlib
import os
import resource
from pathlib import Path

LIMIT_OF_A_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def usable_bytes() -> int:
    """Return the memory of the machine, or less where a container or `ulimit -v` says so."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    with contextlib.suppress(OSError, ValueError):  # there is none, or it says max
        limits.append(int(LIMIT_OF_A_CONTAINER.read_text(encoding="ascii")))
    return min(limits)


def beyond_memory(what: str, num_bytes: float) -> str | None:
    """Return what to say of something that takes more memory than there is; None if it fits.

    Args:
        what: it is and how many, such as `2,000 weights`.
        num_bytes: that it takes at least.
    """
    usable = usable_bytes()
    if num_bytes <= usable:
        return None
    return f"{what} take about {num_bytes / 1e9:,.1f} GB, and this process may use {usable / 1e9:,.1f} GB"
