"""The near end of a worker process: starts it, gives it a job at a time, and learns how it ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from twotower.launchers.environment import import_path
from twotower.launchers.job_worker import status_of
from twotower.launchers.launcher import JobError, Payload

GUESSES = {int(signal.SIGKILL): " (out of memory?)", int(signal.SIGSEGV): " (a crash in compiled code)"}
GRACE_SECONDS = 5.0


class WorkerProcess:
    """One process; idle, or at work on one job. When it ends, so does every process that it has started.

    Args:
        task: dotted path of the function that runs a payload.
        log: file that takes what jobs print.
        environment: added to this process's own.
    """

    def __init__(self, task: str, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "twotower.launchers.job_worker", task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": import_path(), **environment},
                # Ctrl-C in the terminal is for the parent alone, which then decides what ends.
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.end = threading.Thread(target=self._wait, daemon=True)
        self.end.start()

    def _wait(self) -> None:
        self.process.wait()
        self._signal(signal.SIGKILL)  # children that outlived it, and would keep its streams open

    def run(self, payload: Payload) -> int:
        """Run a job and return its exit status.

        Raises:
            JobError: the task raised, or the process died.
        """
        with contextlib.suppress(BrokenPipeError):  # it has died: there will be no answer
            self.stdin.write(json.dumps(dict(payload)) + "\n")
            self.stdin.flush()
        answer = self.stdout.readline()
        if not answer:
            self.end.join()
            raise JobError(f"{how_it_ended(self.process.returncode)}; see {self.log}")
        return status_of(json.loads(answer), self.log)

    def terminate(self) -> None:
        """Tell it, and what it has started, to end; `close` waits."""
        self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Say that no more jobs come, and wait until it has ended, by force if it must be."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.wait()
        self.stdout.close()

    def wait(self) -> None:
        """Wait until it has ended, by force if it must be."""
        self.end.join(GRACE_SECONDS)
        if self.end.is_alive():
            self._signal(signal.SIGKILL)
            self.end.join()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def how_it_ended(code: int) -> str:
    """Describe the end of a process that should have gone on."""
    if code >= 0:
        return f"the worker ended with exit status {code}"
    return f"the worker was killed by signal {-code}{GUESSES.get(-code, '')}"
