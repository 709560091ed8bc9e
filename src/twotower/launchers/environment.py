"""What a job's process finds around it: cores, threads, and where its modules are."""

import os
import sys
import sysconfig
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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


def threads_environment(num_threads: int) -> dict[str, str]:
    """Return the environment that gives torch and Faiss this many threads, which sleep when idle."""
    return dict.fromkeys(THREADS, str(num_threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


def import_path() -> str:
    """Return where this process finds modules beyond the interpreter's own, for another to find them.

    Not the working folder where it comes last: the other would look there first, see `working_folder`.
    """
    own = set(sysconfig.get_paths().values())
    own |= {f"{sysconfig.get_path('stdlib')}{os.sep}lib-dynload"}
    found = sys.path[:-1] if sys.path[-1] == str(Path.cwd()) else sys.path
    return os.pathsep.join(path for path in found if path not in own and Path(path).exists())
