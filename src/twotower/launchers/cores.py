"""How many cores this process may use."""

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def num_cores(quota: Path = QUOTA) -> int:
    """Return the cores that the affinity of this process and the quota of its container leave it.

    Args:
        quota: file of Linux with the container's microseconds of processor and their period, or `max`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file, or `max`: no quota
        return cores
