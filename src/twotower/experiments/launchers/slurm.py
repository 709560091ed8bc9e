"""Jobs of a SLURM cluster, through submitit."""

import importlib.util
import shutil
import sys
import time
from typing import Any, Literal

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import NonNegativeInt, PositiveFloat, PositiveInt
from twotower.experiments.launchers.launcher import (
    STOPPED,
    Answer,
    JobError,
    Launcher,
    LostJobError,
    Payload,
    exit_status,
    processes_of,
    run_task_on_node,
)

POLL_SECONDS, STOP_SECONDS = 0.25, 120.0


class ResumableTask:
    """A task that submitit calls again after a preemption or the time limit, because runs resume."""

    def __call__(self, *arguments: Any) -> Answer:
        """Run the task on a node; of several processes, tell each its rank as torchrun does."""
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        if JobEnvironment().num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        return run_task_on_node(*arguments)

    def checkpoint(self, *arguments: Any) -> Any:
        """Return the same call, to be queued again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


class Slurm(Launcher):
    """One SLURM job per job of the sweep, with a task for each process of its training.

    The folder must be on a disk that all nodes share; logs are in its `.submitit`.
    """

    class Config(Launcher.Config):
        partition: str | None = None
        """None: the default of the cluster."""
        timeout_min: PositiveInt = 240
        """Time limit of a job; it is then queued again, up to three times, and resumes. A preempted job is
        queued again each time."""
        cpus_per_task: PositiveInt = 4
        """Cores and threads of a process."""
        mem_gb: PositiveFloat = 16
        """Memory of a job on each node."""
        gpus: NonNegativeInt = 0
        """GPUs of a job on each node."""
        max_jobs: PositiveInt = 16
        """Jobs queued or running at once."""
        extra: dict[str, Any] | None = None
        """Further options of sbatch, by long name."""
        cluster: Literal["slurm", "local"] = "slurm"
        """`local` runs processes on this machine, to try the settings."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Return requirements that this machine lacks."""
            if importlib.util.find_spec("submitit") is None:
                return [("_target_", "needs submitit: pip install 'twotower[slurm]'")]
            if self.cluster == "local" or shutil.which("sbatch") is not None:
                return []
            message = (
                "sbatch is not installed; start the sweep on a login node of the cluster, or run the jobs on "
                "this machine with launcher=local"
            )
            return [("cluster", message)]

    config: Config

    @property
    def num_workers(self) -> int:
        """Number of jobs queued or running at once."""
        return self.config.max_jobs

    def run(self, payload: Payload) -> int:
        """Submit a job and wait for its answer."""
        import submitit
        from submitit.core.utils import FailedJobError, UncompletedJobError

        config, (num_nodes, num_devices) = self.config, processes_of(payload)
        executor = submitit.AutoExecutor(self.folder / ".submitit", cluster=config.cluster)
        executor.update_parameters(
            name="twotower",
            timeout_min=config.timeout_min,
            nodes=num_nodes,
            tasks_per_node=num_devices,
            cpus_per_task=config.cpus_per_task,
            mem_gb=config.mem_gb,
            gpus_per_node=config.gpus,
            slurm_partition=config.partition,
            slurm_additional_parameters=dict(config.extra or {}),
        )
        with self.starting():
            arguments = self.task, dict(payload), config.cpus_per_task, sys.path
            job = executor.submit(ResumableTask(), *arguments)
        while not job.done():
            if self.stopped.wait(POLL_SECONDS):
                job.cancel(check=False)
                ends = time.monotonic() + STOP_SECONDS
                while not job.done(force_check=True) and time.monotonic() < ends:
                    time.sleep(POLL_SECONDS)
                raise JobError(f"{STOPPED}; see {job.paths.stderr}")
        try:
            answers = job.results()
        except UncompletedJobError as error:
            state = str(job.state)
            is_ended = isinstance(error, FailedJobError) or "CANCELLED" in state  # by scancel
            message = f"job {job.job_id} ended without an answer ({state}); see {job.paths.stderr}"
            raise (JobError if is_ended else LostJobError)(message) from error
        return exit_status(answers, job.paths.stderr)
