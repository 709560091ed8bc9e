"""Runs the payloads of launchers: imports the task, calls it, and returns its exit status as plain values.

As a script it is a worker process: it reads jobs from standard input and writes answers to standard output,
one JSON object per line. The output of a job, also from C++, goes to the worker's log.
"""

import importlib
import io
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn, TextIO

from twotower.config.exits import Stopped
from twotower.config.working_folder import import_from_working_folder
from twotower.launchers.launcher import JobError, Payload

Answer = Mapping[str, Any]
"""`{"status": int}`, or `{"error": str}` if the task raised."""


def run_task(task: str, payload: Payload) -> Answer:
    """Run a payload; an exception is printed with its traceback and returned as text.

    Args:
        task: dotted path of a function.
        payload: its argument.
    """
    import_from_working_folder()
    try:
        module, _, name = task.rpartition(".")
        return {"status": int(getattr(importlib.import_module(module), name)(payload))}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def exit_status(answer: Answer, log: object) -> int:
    """Return the exit status of an answer.

    Raises:
        JobError: the task raised.
    """
    if "error" in answer:
        raise JobError(f"the task raised {answer['error']}; see {log}")
    return int(answer["status"])


def main(task: str) -> NoReturn:
    """Run jobs until standard input ends, and exit without waiting for threads."""
    lines, answers = _take_over_streams()
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_watch, args=(lines, jobs), daemon=True).start()
    status = 1
    try:
        while True:
            payload = json.loads(jobs.get())
            print(f"==== {payload.get('folder', 'a job')}")
            print(json.dumps(run_task(task, payload)), file=answers, flush=True)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        status = stopped.status
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _take_over_streams() -> tuple[TextIO, TextIO]:
    """Return the streams to the parent; jobs read nothing and write to the log (standard error)."""
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return lines, answers


def _watch(lines: TextIO, jobs: "queue.SimpleQueue[str]") -> None:
    """Queue jobs; at the end of input kill this process and its children."""
    for line in lines:
        jobs.put(line)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
