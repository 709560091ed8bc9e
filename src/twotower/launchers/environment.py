"""The environment of a job's process: cores, threads and import path."""

import os
import sys
import sysconfig
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def num_cores(quota: Path = QUOTA) -> int:
    """Return the number of cores that CPU affinity and container quota allow.

    Args:
        quota: Linux file with the processor microseconds of the container and their period, or `max`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file, or `max`: no quota
        return cores


def threads_environment(num_threads: int) -> dict[str, str]:
    """Return environment variables for this many threads in torch and Faiss; idle threads sleep."""
    return dict.fromkeys(THREADS, str(num_threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


def import_path() -> str:
    """Return the import path of this process without the standard library, for another process.

    The working folder is left out if it comes last, because `PYTHONPATH` would put it first.
    """
    own = set(sysconfig.get_paths().values())
    own |= {f"{sysconfig.get_path('stdlib')}{os.sep}lib-dynload"}
    folders = sys.path[:-1] if sys.path[-1] == str(Path.cwd()) else sys.path
    return os.pathsep.join(path for path in folders if path not in own and Path(path).exists())
