"""Jobs as tasks of a Ray cluster, and jobs with several processes through Ray Train."""

import functools
import importlib.util
import itertools
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.config.spec import NonNegativeFloat, PositiveInt
from twotower.experiments.launchers.launcher import (
    STOPPED,
    Answer,
    JobError,
    Launcher,
    LostJobError,
    Payload,
    exit_status,
    num_cores,
    processes_of,
    run_task_on_node,
    threads_environment,
)
from twotower.files.output import redirect_output
from twotower.parallel.launched import TIMEOUT_SECONDS

LOG = logging.getLogger("twotower")
WAIT_SECONDS = 20.0
"""Time to start, after which a job that has not started is logged."""
STOP_SECONDS, OBJECT_STORE_BYTES = 30.0, 100 * 2**20
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Variables that turn off usage statistics and a deprecation warning of Ray."""


class Ray(Launcher):
    """One Ray task per job; a job with several processes is a Ray Train job, with a worker for each.

    The folder must be shared by all nodes. In it, the output of a job goes to `workers/ray-<n>.log`, and that
    of one of several processes to `workers/ray-<n>-rank<r>.log`.
    """

    class Config(Launcher.Config):
        """The cluster, and the resources of a process; a job has `trainer.devices` on each of `num_nodes`."""

        address: str | None = None
        """Address of a running cluster, or `auto` for the cluster of this machine; None starts one here."""
        num_cpus: PositiveInt = 1
        """Cores and threads of a process."""
        num_gpus: NonNegativeFloat = 0
        """GPUs of a process; processes share a GPU with a fraction."""
        max_jobs: PositiveInt | None = None
        """Jobs at once; None: as many as fit into the cluster with one process each. The others wait."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Return requirements that this machine lacks."""
            if importlib.util.find_spec("ray") is None:
                return [("_target_", "needs Ray: pip install 'twotower[ray]'")]
            return []

    config: Config

    def __init__(self, config: Config, task: str, folder: Path) -> None:
        super().__init__(config, task, folder)
        self.needs: dict[str, float] = {"CPU": config.num_cpus}
        if config.num_gpus:
            self.needs["GPU"] = config.num_gpus
        self.running: set[Any] = set()
        self.numbers = itertools.count()

    def __enter__(self) -> Self:
        """Join the cluster, or start one that only this process can use."""
        address = self.config.address
        # A new cluster listens on the network: a random token keeps other users out.
        token = {} if address else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        for key, value in (QUIET | token).items():
            os.environ.setdefault(key, value)
        import ray

        own = {"num_cpus": num_cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        arguments: dict[str, Any] = {"address": address} if address else {"address": "local", **own}
        try:
            ray.init(**arguments, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError, ValueError) as error:
            ray.shutdown()
            raise InputError(f"launcher.address: no Ray cluster at {address!r} ({error})") from error
        if self._num_nodes(1) < 1:
            ray.shutdown()
            raise InputError(f"launcher.num_cpus, num_gpus: a job needs {self.needs}, more than any node has")
        return self

    def _capacities(self) -> list[int]:
        """Return the number of processes that fit on each node."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        return [
            int(min(node.get(kind, 0) // needed for kind, needed in self.needs.items())) for node in nodes
        ]

    def _num_nodes(self, num_devices: int) -> int:
        """Return the number of nodes on which this many processes fit."""
        return sum(capacity >= num_devices for capacity in self._capacities())

    @property
    def num_workers(self) -> int:
        """Number of jobs at once; it grows with the cluster."""
        return self.config.max_jobs or max(1, sum(self._capacities()))

    def run(self, payload: Payload) -> int:
        """Run a job as a task of the cluster, or in a group of processes if its training has several."""
        import ray

        name, (num_nodes, num_devices) = f"ray-{next(self.numbers)}", processes_of(payload)
        log, num_cpus = self.folder / "workers" / f"{name}.log", self.config.num_cpus
        options = {"num_cpus": num_cpus, "num_gpus": self.config.num_gpus, "max_retries": 0}
        function: Callable[..., Answer] = _run_on_node
        group: tuple[Any, ...] = ()
        results = self.folder / "workers" / name
        if num_nodes * num_devices > 1:
            if self._num_nodes(num_devices) < num_nodes:
                raise JobError(
                    f"trainer.devices, trainer.num_nodes: the cluster has no {num_nodes} nodes with "
                    f"{num_devices} times {self.needs} each"
                )
            log = _rank_log(results, 0)
            # The workers have the resources; after an error, they end with the process of this call.
            options |= {"num_cpus": 0, "num_gpus": 0, "max_calls": 1}
            function, group = _run_group, (num_nodes, num_devices, self.needs)
        remote: Any = ray.remote(**options)(function)  # type: ignore[call-overload]
        with self.starting():
            arguments = Path.cwd(), self.task, dict(payload), num_cpus, sys.path
            reference = remote.remote(*group, results if group else log, *arguments)
            self.running.add(reference)
        try:
            if not ray.wait([reference], timeout=WAIT_SECONDS)[0] and not log.exists():
                self._log_capacity(log.stem, num_nodes * num_devices)
            return exit_status([ray.get(reference)], log)
        except ray.exceptions.RayError as error:
            kind = LostJobError if _is_lost(error) else JobError
            raise kind(f"{type(error).__name__}: {_first_line(error) or STOPPED}; see {log}") from error
        finally:
            self.running.discard(reference)
            shutil.rmtree(results, ignore_errors=True)

    def _log_capacity(self, name: str, num_processes: int) -> None:
        """Log what a job that has not started needs, and what the cluster has."""
        import ray

        every, free = ray.cluster_resources(), ray.available_resources()
        has = ", ".join(f"{free.get(kind, 0):g} of {every.get(kind, 0):g} {kind} free" for kind in self.needs)
        LOG.info("%s waits for %d times %s; the cluster has %s", name, num_processes, self.needs, has)

    def stop(self) -> None:
        """Cancel running tasks and wait for their end."""
        import ray

        super().stop()
        running = list(self.running)
        for force in (False, True):  # without force, a job can write its checkpoint
            for reference in running:
                ray.cancel(reference, force=force)
            if running:
                _, running = ray.wait(running, num_returns=len(running), timeout=STOP_SECONDS)

    def __exit__(self, *error: object) -> None:
        """Stop running tasks, and the cluster if it was started here."""
        import ray

        super().__exit__(*error)
        ray.shutdown()


def _run_on_node(log: Path, folder: Path, *arguments: Any) -> Answer:
    """Run a task in a process of Ray, with its output in the log."""
    os.chdir(folder)
    redirect_output(log)
    return run_task_on_node(*arguments)


def _is_lost(error: BaseException) -> bool:
    """Return whether Ray has lost a process or node, and not merely passed on an error."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error.cause if isinstance(error, RayTaskError) else error, RayError)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _rank_log(results: Path, rank: int) -> Path:
    return results.with_name(f"{results.name}-rank{rank}.log")


def _run_group(
    num_nodes: int,
    num_devices: int,
    needs: dict[str, float],
    results: Path,
    *arguments: Any,
) -> Answer:
    """Run a task in a group of processes, the workers of Ray Train, which end together.

    Each node has `num_devices` processes, and each of these the resources `needs`. Files of Ray Train go to
    `results`; `arguments` follow the log in `_run_on_node`.
    """
    from ray.train import (
        FailureConfig,
        PreemptionError,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
        WorkerGroupError,
    )
    from ray.train.torch import TorchConfig, TorchTrainer

    has_gpu = "GPU" in needs
    spread = "STRICT_SPREAD" if num_devices == 1 else "PACK"
    trainer = TorchTrainer(
        functools.partial(_run_worker, num_devices, results, arguments),
        torch_config=TorchConfig("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout_s=TIMEOUT_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=num_nodes * num_devices,
            use_gpu=has_gpu,
            resources_per_worker=needs,
            placement_strategy="STRICT_PACK" if num_nodes == 1 else spread,
        ),
        run_config=RunConfig(
            storage_path=str(results),
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # by the launcher
            worker_runtime_env={"env_vars": threads_environment(int(needs["CPU"]))},
        ),
    )
    try:
        answer: Answer = trainer.fit().return_value
    except WorkerGroupError as error:
        # A worker whose task raised, or whose process Ray has lost.
        failures = [
            type(failure)(f"rank {rank}: {failure}")
            if isinstance(failure, JobError)
            else LostJobError(f"rank {rank}: {type(failure).__name__}: {_first_line(failure)}")
            for rank, failure in sorted(error.worker_failures.items())
        ]
        return min(failures, key=lambda each: isinstance(each, LostJobError))
    except TrainingFailedError as error:
        cause = getattr(error, "controller_failure", error)  # of a ControllerError, as while the group starts
        kind = LostJobError if isinstance(error, PreemptionError) or _is_lost(cause) else JobError
        return kind(f"{type(cause).__name__}: {_first_line(cause)}")
    return answer


def _run_worker(num_devices: int, results: Path, arguments: tuple[Any, ...]) -> Answer:
    """Run a task in a worker of Ray Train, which has joined the process group.

    Raises:
        JobError: the task raised. Ray ends the other ranks, which may wait for this one.
    """
    import torch.distributed as dist

    if num_devices == 1:  # Ray counts by address, which nodes may share
        os.environ |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    logging.getLogger().handlers.clear()  # Ray's, which repeat every message
    answer = _run_on_node(_rank_log(results, dist.get_rank()), *arguments)
    if isinstance(answer, JobError):
        raise answer
    return answer
