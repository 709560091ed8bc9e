"""A worker process, seen from the parent: starts it, sends it jobs, and reads their exit status."""

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
from twotower.launchers.job_worker import exit_status
from twotower.launchers.launcher import JobError, Payload

GUESSES = {int(signal.SIGKILL): " (out of memory?)", int(signal.SIGSEGV): " (a crash in compiled code)"}
GRACE_SECONDS = 5.0


class WorkerProcess:
    """One worker process, which runs one job at a time. When it ends, its child processes are killed.

    Args:
        task: dotted path of the function that runs a payload.
        log: file for the output of the jobs.
        environment: variables added to those of this process.
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
                # Ctrl-C in the terminal reaches only the parent, which then stops the workers.
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.end = threading.Thread(target=self._wait, daemon=True)
        self.end.start()

    def _wait(self) -> None:
        self.process.wait()
        self._signal(signal.SIGKILL)  # children that still run would keep its streams open

    def run(self, payload: Payload) -> int:
        """Run a job and return its exit status.

        Raises:
            JobError: the task raised, or the process died.
        """
        with contextlib.suppress(BrokenPipeError):  # it has died, so it will not answer
            self.stdin.write(json.dumps(dict(payload)) + "\n")
            self.stdin.flush()
        line = self.stdout.readline()
        if not line:
            self.end.join()
            raise JobError(f"{describe_exit(self.process.returncode)}; see {self.log}")
        return exit_status(json.loads(line), self.log)

    def terminate(self) -> None:
        """Send SIGTERM to the process and its children; `close` waits."""
        self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Close its input and wait for its end; kill it after `GRACE_SECONDS`."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.wait()
        self.stdout.close()

    def wait(self) -> None:
        """Wait for its end; kill it after `GRACE_SECONDS`."""
        self.end.join(GRACE_SECONDS)
        if self.end.is_alive():
            self._signal(signal.SIGKILL)
            self.end.join()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def describe_exit(code: int) -> str:
    """Describe the unexpected end of a worker."""
    if code >= 0:
        return f"the worker ended with exit status {code}"
    return f"the worker was killed by signal {-code}{GUESSES.get(-code, '')}"
