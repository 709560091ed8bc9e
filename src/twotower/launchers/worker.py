"""A worker process: it runs the jobs of a sweep one after the other."""

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from twotower.config.exits import Stopped
from twotower.config.working_folder import import_from_working_folder
from twotower.launchers.launcher import JobError, Payload

CONTEXT = multiprocessing.get_context("spawn")
GUESSES = {int(signal.SIGKILL): " (out of memory?)", int(signal.SIGSEGV): " (a crash in compiled code)"}
POLL_SECONDS, GRACE_SECONDS = 0.5, 5.0

Answer = int | str
"""The exit status of a task, or the error that it raised."""


class Worker:
    """One process, which runs one job at a time. When it ends, its child processes are killed.

    Args:
        task: dotted path of the function that runs a payload.
        log: file for the output of the jobs.
        environment: variables added to those of this process.
    """

    def __init__(self, task: str, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_run_jobs, args=(theirs, task, log, dict(environment)))
        self.process.start()
        theirs.close()

    def run(self, payload: Payload) -> int:
        """Run a job and return its exit status.

        Raises:
            JobError: the task raised, or the process died.
        """
        try:
            self.connection.send(dict(payload))
            while not self.connection.poll(POLL_SECONDS):
                if not self.process.is_alive() and not self.connection.poll():
                    raise EOFError
            return exit_status(self.connection.recv(), self.log)
        except (EOFError, OSError):
            while (status := self.process.exitcode) is None:
                time.sleep(0.01)
            self._signal(signal.SIGKILL)  # children that still run
            end = f"ended with exit status {status}"
            if status < 0:
                end = f"was killed by signal {-status}{GUESSES.get(-status, '')}"
            raise JobError(f"the worker {end}; see {self.log}") from None

    def terminate(self) -> None:
        """Send SIGTERM to the process and its children; `close` waits."""
        self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Terminate the process and wait for its end; kill it after `GRACE_SECONDS`."""
        self.terminate()
        self.process.join(GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self.process.join()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            try:
                os.killpg(self.process.pid or 0, number)
            except ProcessLookupError:  # it has just started and has no group of its own yet
                if self.process.is_alive():
                    os.kill(self.process.pid or 0, number)


def run_task(task: str, payload: Payload) -> Answer:
    """Run a payload; an exception is printed with its traceback and returned as text.

    Args:
        task: dotted path of a function.
        payload: its argument.
    """
    import_from_working_folder()
    try:
        module, _, name = task.rpartition(".")
        return int(getattr(importlib.import_module(module), name)(payload))
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def exit_status(answer: Answer, log: object) -> int:
    """Return the exit status of an answer.

    Raises:
        JobError: the task raised.
    """
    if isinstance(answer, str):
        raise JobError(f"the task raised {answer}; see {log}")
    return answer


def _run_jobs(connection: Connection, task: str, log: Path, environment: Mapping[str, str]) -> None:
    """Run jobs in the worker's process; their output, also from C++, goes to the log."""
    os.environ.update(environment)  # OpenMP reads it when the task imports torch or Faiss
    os.setsid()  # Ctrl-C in the terminal reaches only the parent, which then stops the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
        for file, descriptor in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(file.fileno(), descriptor)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 - until the end
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    try:
        while True:
            payload = connection.recv()
            print(f"==== {payload.get('folder', 'a job')}")
            connection.send(run_task(task, payload))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)
