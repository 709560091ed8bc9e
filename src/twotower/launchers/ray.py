"""Jobs as tasks of a Ray cluster."""

import importlib.util
import itertools
import logging
import os
import secrets
import sys
from pathlib import Path
from typing import Any, Self

from twotower.config.errors import InputError
from twotower.config.spec import NonNegativeFloat, PositiveInt
from twotower.launchers.launcher import (
    STOPPED,
    Answer,
    JobError,
    Launcher,
    Payload,
    exit_status,
    num_cores,
    redirect_output,
    run_task_on_node,
)

STOP_SECONDS, OBJECT_STORE_BYTES = 30.0, 100 * 2**20
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Variables that turn off usage statistics and a deprecation warning of Ray."""


class Ray(Launcher):
    """One Ray task per job.

    The folder must be shared by all nodes; the output of jobs goes to `workers/ray-<n>.log` in it.
    """

    class Config(Launcher.Config):
        """The cluster, and the resources of a job."""

        address: str | None = None
        """Address of a running cluster, or `auto` for that of this machine; None starts one here."""
        num_cpus: PositiveInt = 1
        """Cores and threads of a job."""
        num_gpus: NonNegativeFloat = 0
        """GPUs of a job; jobs share a GPU with a fraction."""
        max_jobs: PositiveInt | None = None
        """Jobs at once; None: as many as fit into the cluster."""

        def problems(self) -> list[tuple[str, str]]:
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
        if self._room() < 1:
            ray.shutdown()
            raise InputError(f"launcher.num_cpus, num_gpus: a job needs {self.needs}, more than any node has")
        return self

    def _room(self) -> int:
        """Return the number of jobs that fit; a job needs all its cores and GPUs on one node."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        return sum(
            int(min(node.get(kind, 0) // needed for kind, needed in self.needs.items())) for node in nodes
        )

    @property
    def num_workers(self) -> int:
        """Number of jobs at once; it grows with the cluster."""
        return self.config.max_jobs or max(1, self._room())

    def run(self, payload: Payload) -> int:
        """Run a job as a task of the cluster."""
        import ray

        log = self.folder / "workers" / f"ray-{next(self.numbers)}.log"
        num_cpus = self.config.num_cpus
        options = {"num_cpus": num_cpus, "num_gpus": self.config.num_gpus, "max_retries": 0}
        remote: Any = ray.remote(**options)(_run_on_node)  # type: ignore[call-overload]
        with self.lock:
            self.refuse_if_stopped()
            reference = remote.remote(log, Path.cwd(), self.task, dict(payload), num_cpus, sys.path)
            self.running.add(reference)
        try:
            return exit_status(ray.get(reference), log)
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().partition("\n")[0]
            raise JobError(f"{type(error).__name__}: {first_line or STOPPED}; see {log}") from error
        finally:
            self.running.discard(reference)

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
