"""Jobs of a SLURM cluster, through submitit."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from twotower.config.spec import NonNegativeInt, PositiveFloat, PositiveInt
from twotower.launchers.environment import import_path, threads_environment
from twotower.launchers.job_worker import Answer, exit_status, run_task
from twotower.launchers.launcher import STOPPED, JobError, Launcher, Payload

POLL_SECONDS, STOP_SECONDS = 0.25, 120.0


@dataclass(frozen=True)
class Call:
    """A picklable call for submitit: runs a payload on a node and returns its answer."""

    task: str
    payload: dict[str, Any]
    num_threads: int
    modules: str

    def __call__(self) -> Answer:
        """Run the payload."""
        os.environ.update(threads_environment(self.num_threads))
        sys.path += [path for path in self.modules.split(os.pathsep) if path not in sys.path]
        return run_task(self.task, self.payload)

    def checkpoint(self) -> Any:
        """Return the call for a job that is queued again: the same, because runs resume."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Slurm(Launcher):
    """One SLURM job per job of the sweep.

    The folder must be on a disk that all nodes share; logs are in its `.submitit`.
    """

    class Config(Launcher.Config):
        """Resources of a job."""

        partition: str | None = None
        """None: the default of the cluster."""
        timeout_min: PositiveInt = 240
        """Time limit of a job; it is then queued again, up to three times, and resumes."""
        cpus_per_task: PositiveInt = 4
        """Cores and threads of a job."""
        mem_gb: PositiveFloat = 16
        """Memory of a job."""
        gpus: NonNegativeInt = 0
        """GPUs of a job."""
        max_jobs: PositiveInt = 16
        """Jobs queued or running at once."""
        extra: dict[str, Any] | None = None
        """Further options of sbatch, by long name."""
        cluster: Literal["slurm", "local"] = "slurm"
        """`local` runs processes on this machine, to try the settings."""

        def problems(self) -> list[tuple[str, str]]:
            """Return requirements that this machine lacks."""
            if importlib.util.find_spec("submitit") is None:
                return [("_target_", "needs submitit: pip install 'twotower[slurm]'")]
            missing = [name for name in ("sbatch", "srun", "scancel", "squeue") if shutil.which(name) is None]
            if self.cluster == "local" or not missing:
                return []
            message = (
                f"{missing[0]} is not installed; start the sweep on a login node of the cluster, or run the "
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
        self.running: dict[str, Any] = {}
        self.lock, self.stopped = threading.Lock(), threading.Event()

    @property
    def num_workers(self) -> int:
        """Number of jobs queued or running at once."""
        return self.config.max_jobs

    def __enter__(self) -> Self:
        """Cancel jobs of an earlier process that was killed."""
        super().__enter__()
        self.logs.mkdir(parents=True, exist_ok=True)
        if self.config.cluster == "slurm" and self.submitted.is_file():
            _cancel(self.submitted.read_text(encoding="ascii").split())
        self.submitted.unlink(missing_ok=True)
        return self

    def run(self, payload: Payload) -> int:
        """Submit a job and wait for its answer."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        job = self._submit_job(payload)
        while not job.done():
            if self.stopped.wait(POLL_SECONDS):
                raise JobError(f"{STOPPED}; see {job.paths.stderr}")
        try:
            answer = job.result()
        except (FailedJobError, UncompletedJobError) as error:
            message = f"job {job.job_id} ended without an answer ({job.state}); see {job.paths.stderr}"
            raise JobError(message) from error
        finally:
            self.running.pop(job.job_id)
        return exit_status(answer, job.paths.stderr)

    def _submit_job(self, payload: Payload) -> Any:
        import submitit

        executor = submitit.AutoExecutor(self.logs, cluster=self.config.cluster)
        executor.update_parameters(**self.parameters)
        call = Call(self.task, dict(payload), self.config.cpus_per_task, import_path())
        with self.lock:
            if self.stopped.is_set():
                raise JobError(STOPPED)
            job = executor.submit(call)
            self.running[job.job_id] = job
            with self.submitted.open("a", encoding="ascii") as file:
                file.write(f"{job.job_id}\n")
        return job

    def stop(self) -> None:
        """Cancel queued and running jobs and wait until the cluster has removed them."""
        with self.lock:
            self.stopped.set()
            running = dict(self.running)
        if self.config.cluster == "slurm":
            _cancel(list(running))
        else:
            for job in running.values():
                job.cancel()
            _wait_until(lambda: all(job.done() for job in running.values()), "jobs of submitit")
        self.submitted.unlink(missing_ok=True)


def _cancel(ids: list[str]) -> None:
    """Cancel SLURM jobs and wait until they have left the queue."""
    if ids:
        subprocess.run(["scancel", *ids], check=False, capture_output=True)
        _wait_until(lambda: _none_queued(ids), f"SLURM jobs {' '.join(ids)}")


def _none_queued(ids: list[str]) -> bool:
    command = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(ids)}"]
    queue = subprocess.run(command, check=False, capture_output=True, text=True)
    return not queue.stdout.strip() and (queue.returncode == 0 or "Invalid job id" in queue.stderr)


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + STOP_SECONDS
    while not condition():
        if time.monotonic() > ends:
            raise JobError(f"{what}: not ended {STOP_SECONDS:.0f} s after the request to stop")
        time.sleep(POLL_SECONDS)
