"""The near end of a worker process: starts it, gives it a job at a time, and learns how it ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from twotower.launchers.launcher import JobError, Payload
from twotower.launchers.task import import_path, status_of

GUESSES = {int(signal.SIGKILL): " (out of memory?)", int(signal.SIGSEGV): " (a crash in compiled code)"}
GRACE_SECONDS, POLL_SECONDS = 5.0, 0.02


class WorkerProcess:
    """One process; idle, or at work on one job.

    Args:
        number: unique among the living workers.
        task: dotted path of the function that runs a payload.
        log: file that takes what jobs print.
        environment: added to this process's own.
    """

    def __init__(self, number: int, task: str, log: Path, environment: Mapping[str, str]) -> None:
        self.number, self.log = number, log
        self.job: ProcessHandle | None = None
        self.unread = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "twotower.launchers.worker", task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**os.environ, "PYTHONPATH": import_path(), **environment},
                # Ctrl-C in the terminal is for the parent alone, which then decides what ends.
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self.stdout.fileno(), False)

    def alive(self) -> bool:
        """Say whether it can take jobs."""
        return self.process.poll() is None

    def start(self, payload: Payload) -> "ProcessHandle":
        """Give it a job."""
        assert self.job is None
        self.job = ProcessHandle(self)
        with contextlib.suppress(BrokenPipeError):  # it has died: the handle finds out
            self.stdin.write(json.dumps(dict(payload)).encode() + b"\n")
            self.stdin.flush()
        return self.job

    def advance(self) -> None:
        """Take in, without waiting, how its job ended, if it has."""
        if self.job is None:
            return
        ended = not self.alive()  # asked before reading, so that a last answer is not missed
        with contextlib.suppress(BlockingIOError):
            while read := os.read(self.stdout.fileno(), 1 << 16):
                self.unread += read
        line, newline, rest = self.unread.partition(b"\n")
        if newline:
            self.unread = rest
            self.job.answer, self.job = json.loads(line), None
        elif ended:
            self.job.died, self.job = how_it_ended(self.process.returncode), None
            self.stop()

    def ask_to_stop(self) -> None:
        """Send SIGTERM if it is at work, and otherwise say that no more jobs come; `stop` waits."""
        if self.job is not None:
            self._signal(signal.SIGTERM)
        else:
            self._close_input()

    def stop(self) -> None:
        """End it and all its children, by force if it must be, and wait."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)  # children of its own may outlive it
        self.process.wait()
        self._close_input()
        self.stdout.close()
        if self.job is not None:
            self.job.died, self.job = "the worker was stopped with its launcher", None

    def _close_input(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class ProcessHandle:
    """A job in a worker process."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.answer: Mapping[str, object] | None = None
        self.died: str | None = None

    def done(self) -> bool:
        """Say whether it has ended."""
        if self.answer is None and self.died is None:
            self.worker.advance()
        return self.answer is not None or self.died is not None

    def result(self) -> int:
        """Return the exit status, waiting for it."""
        while not self.done():
            time.sleep(POLL_SECONDS)
        if self.answer is None:
            raise JobError(f"{self.died}; see {self.worker.log}")
        return status_of(self.answer, self.worker.log)


def how_it_ended(code: int) -> str:
    """Describe the end of a process that should have gone on."""
    if code >= 0:
        return f"the worker ended with exit status {code}"
    return f"the worker was killed by signal {-code}{GUESSES.get(-code, '')}"
