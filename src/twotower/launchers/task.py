"""The far end of every launcher: find the task, call it, and say in plain values how it went."""

import functools
import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twotower.launchers.launcher import JobError, Payload

Answer = Mapping[str, Any]
"""`{"status": int}`, or `{"error": str}` of a task that raised."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@functools.cache
def find_task(dotted: str) -> Callable[[Payload], int]:
    """Import the function that a dotted path names."""
    module, _, name = dotted.rpartition(".")
    found: Callable[[Payload], int] = getattr(importlib.import_module(module), name)
    return found


def answer_of(task: str, payload: Payload) -> Answer:
    """Run a payload; what it raises is printed with its traceback and returned as text."""
    try:
        return {"status": int(find_task(task)(payload))}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def status_of(answer: Answer, log: object) -> int:
    """Return the exit status that an answer says.

    Raises:
        JobError: the task raised.
    """
    if "error" in answer:
        raise JobError(f"the task raised {answer['error']}; see {log}")
    return int(answer["status"])


def threads_environment(num_threads: int) -> dict[str, str]:
    """Return the environment that gives torch and Faiss this many threads, which sleep when idle."""
    return dict.fromkeys(THREADS, str(num_threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


def import_path() -> str:
    """Return where this process finds modules beyond the interpreter's own, for another to find them."""
    own = set(sysconfig.get_paths().values())
    own |= {f"{sysconfig.get_path('stdlib')}{os.sep}lib-dynload"}
    return os.pathsep.join(path for path in sys.path if path not in own and Path(path).exists())
