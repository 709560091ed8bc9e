"""Jobs of a SLURM cluster, through submitit."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from twotower.config.facts import Facts
from twotower.config.problems import Problem, raise_problems
from twotower.config.spec import Count, PositiveFloat, PositiveInt
from twotower.files.atomic import write_text_atomically
from twotower.launchers.launcher import Handle, JobError, Launcher, Payload
from twotower.launchers.task import answer_of, import_path, status_of, threads_environment

POLL_SECONDS, ASK_SECONDS, STOP_SECONDS = 0.1, 20.0, 120.0
SLOW_DISK_SECONDS = {"slurm": 10.0, "local": 0.0}
"""How long an answer may take from the node that wrote it to this one."""


@dataclass(frozen=True)
class Call:
    """What submitit sends to the node: runs a payload and leaves its answer in a file."""

    task: str
    payload: dict[str, Any]
    answer: Path
    num_threads: int
    modules: str

    def __call__(self) -> None:
        """Run it."""
        os.environ.update(threads_environment(self.num_threads))
        sys.path += [path for path in self.modules.split(os.pathsep) if path not in sys.path]
        answer = answer_of(self.task, self.payload)
        write_text_atomically(self.answer, json.dumps(answer))

    def checkpoint(self) -> Any:
        """Tell submitit what to run when a job is queued again: the same, for a run resumes by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmHandle:
    """A job of the cluster.

    Args:
        job: submitit's.
        answer: the file that the job leaves.
        has_ended: asks the cluster.
        patience: seconds that the file may take to be seen here; 0 for jobs of this machine, which have
            ended when their processes have.
    """

    def __init__(self, job: Any, answer: Path, has_ended: Callable[[Any], bool], patience: float) -> None:
        self.job, self.answer, self.has_ended, self.patience = job, answer, has_ended, patience
        self.ended: float | None = None

    def done(self) -> bool:
        """Say whether it has ended."""
        if self.patience and self.answer.is_file():
            return True
        if self.ended is None and self.has_ended(self.job):
            self.ended = time.monotonic()
        return self.ended is not None and time.monotonic() - self.ended >= self.patience

    def result(self) -> int:
        """Return the exit status, waiting for it."""
        while not self.done():
            time.sleep(POLL_SECONDS)
        log = self.job.paths.stderr
        if not self.answer.is_file():
            raise JobError(f"job {self.job.job_id} ended without an answer ({self.job.state}); see {log}")
        return status_of(json.loads(self.answer.read_text(encoding="utf-8")), log)


class Slurm(Launcher):
    """One SLURM job a job of the sweep, submitted as there is room.

    The folder is on a disk that all nodes see; logs are in `.submitit` in it.
    """

    class Config(Launcher.Config):
        """What a job asks of the cluster."""

        partition: str | None = None
        """None for the cluster's default."""
        timeout_min: PositiveInt = 240
        """After this a job is queued again, up to three times, and goes on where it was."""
        cpus_per_task: PositiveInt = 4
        """Also the threads of a job."""
        mem_gb: PositiveFloat = 16
        """Of a job."""
        gpus: Count = 0
        """Of a job."""
        max_jobs: PositiveInt = 16
        """Queued or running at once."""
        extra: dict[str, Any] | None = None
        """Other options of sbatch, by their long names."""
        cluster: Literal["slurm", "local"] = "slurm"
        """`local` runs processes on this machine instead, to try it out."""

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """Return what is missing on this machine."""
            if importlib.util.find_spec("submitit") is None:
                return [("_target_", "needs submitit: pip install -e '.[slurm]'")]
            missing = [name for name in ("sbatch", "srun", "scancel", "squeue") if shutil.which(name) is None]
            if self.cluster == "local" or not missing:
                return []
            message = (
                f"there is no {missing[0]} here; start the sweep on a login node of the cluster, or run the "
                "jobs on this machine with launcher=local"
            )
            return [("cluster", message)]

    config: Config

    def __init__(self, config: Config, task: str, folder: Path) -> None:
        super().__init__(config, task, folder)
        self.parameters: dict[str, Any] = {
            "name": "twotower",
            "timeout_min": config.timeout_min,
            "cpus_per_task": config.cpus_per_task,
            "mem_gb": config.mem_gb,
            "gpus_per_node": config.gpus,
            "slurm_additional_parameters": dict(config.extra or {}),
        }
        if config.partition is not None:
            self.parameters["slurm_partition"] = config.partition
        self.logs = self.folder / ".submitit"
        self.submitted = self.logs / "submitted"
        self.handles: list[SlurmHandle] = []
        self.asked = 0.0

    @property
    def num_workers(self) -> int:
        """Return how many jobs are queued or running at once."""
        return self.config.max_jobs

    def __enter__(self) -> "Slurm":
        """Cancel what an earlier process, killed while its jobs ran, left queued or running."""
        raise_problems(Problem(f"launcher.{key}", message) for key, message in self.config.problems(Facts()))
        self.logs.mkdir(parents=True, exist_ok=True)
        if self.config.cluster == "slurm" and self.submitted.is_file():
            cancel(self.submitted.read_text(encoding="ascii").split())
        self.submitted.unlink(missing_ok=True)
        return self

    def submit(self, payload: Payload) -> Handle:
        """Submit a job."""
        import submitit

        executor = submitit.AutoExecutor(self.logs, cluster=self.config.cluster)
        executor.update_parameters(**self.parameters)
        answer = self.logs / f"answer-{time.time_ns()}.json"
        call = Call(self.task, dict(payload), answer, self.config.cpus_per_task, import_path())
        job = executor.submit(call)
        with self.submitted.open("a", encoding="ascii") as file:
            file.write(f"{job.job_id}\n")
        self.handles = [handle for handle in self.handles if not handle.done()]
        self.handles.append(SlurmHandle(job, answer, self._has_ended, SLOW_DISK_SECONDS[self.config.cluster]))
        return self.handles[-1]

    def _has_ended(self, job: Any) -> bool:
        """Ask the cluster; by itself submitit asks ever more rarely."""
        force = time.monotonic() - self.asked > ASK_SECONDS
        if force:
            self.asked = time.monotonic()
        return bool(job.done(force_check=force))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what is queued or running, and wait until the cluster has no more of it."""
        running = [handle for handle in self.handles if not handle.done()]
        if self.config.cluster == "slurm":
            cancel([handle.job.job_id for handle in running])
        else:
            for handle in running:
                handle.job.cancel()
            wait_until(lambda: all(handle.job.done() for handle in running), "jobs of submitit")
        self.handles = []
        self.submitted.unlink(missing_ok=True)


def cancel(ids: list[str]) -> None:
    """Cancel jobs of SLURM, and wait until it has no more of them: their nodes may be slow to stop."""
    if not ids:
        return
    subprocess.run(["scancel", *ids], check=False, capture_output=True)
    wait_until(lambda: _none_queued(ids), f"SLURM jobs {' '.join(ids)}")


def _none_queued(ids: list[str]) -> bool:
    command = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(ids)}"]
    asked = subprocess.run(command, check=False, capture_output=True, text=True)
    return not asked.stdout.strip() and (asked.returncode == 0 or "Invalid job id" in asked.stderr)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for jobs to stop.

    Raises:
        JobError: they do not.
    """
    ends = time.monotonic() + STOP_SECONDS
    while not condition():
        if time.monotonic() > ends:
            raise JobError(f"{what}: still there {STOP_SECONDS:.0f} s after they were told to stop")
        time.sleep(POLL_SECONDS)
