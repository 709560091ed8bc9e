"""A worker process of `launcher=local`: jobs come in on standard input, answers go out on standard output.

Both are JSON, a line each. Whatever a job prints, from C++ too, goes to the worker's log.
"""

import io
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import NoReturn, TextIO

from twotower.config.exits import Stopped
from twotower.launchers.launcher import Payload
from twotower.launchers.task import answer_of


def main(task: str) -> None:
    """Run jobs until standard input ends.

    Args:
        task: dotted path of the function that runs one.
    """
    lines, answers = take_over_streams()
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=watch, args=(lines, jobs), daemon=True).start()
    try:
        while True:
            work(task, json.loads(jobs.get()), answers)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        leave(stopped.status)
    except SystemExit as stop:
        leave(stop.code if isinstance(stop.code, int) else 1)
    except BaseException:
        traceback.print_exc()
        leave(1)


def work(task: str, payload: Payload, answers: TextIO) -> None:
    """Run one job and answer how it went."""
    print(f"==== {payload.get('folder', 'a job')}")
    answer = answer_of(task, payload)
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def leave(code: int) -> NoReturn:
    """End without waiting for threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def take_over_streams() -> tuple[TextIO, TextIO]:
    """Return the streams to the parent; jobs get an empty input, and print to the log (standard error)."""
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return lines, answers


def watch(lines: TextIO, jobs: "queue.SimpleQueue[str]") -> None:
    """Queue jobs; at the end of input the parent is gone or wants no more: end at once, with all children."""
    for line in lines:
        jobs.put(line)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
