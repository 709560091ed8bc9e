"""Jobs as tasks of a Ray cluster."""

import functools
import importlib.util
import itertools
import logging
import os
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from twotower.config.errors import InputError
from twotower.config.spec import NonNegativeFloat, PositiveInt
from twotower.launchers.environment import import_path, num_cores, threads_environment
from twotower.launchers.job_process import WorkerProcess
from twotower.launchers.launcher import STOPPED, JobError, Launcher, Payload

POLL_SECONDS, STOP_SECONDS, OBJECT_STORE_BYTES = 0.05, 30.0, 100 * 2**20
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""The environment in which Ray sends no statistics and warns of no change of its own."""


@functools.cache  # Ray reads it once a process
def _private_environment() -> dict[str, str]:
    """Return the environment in which a Ray started here obeys this process alone.

    It listens on the network all the same. By itself it would keep a token in the user's home.
    """
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


class Ray(Launcher):
    """One Ray task a job.

    The folder is the same on all nodes; what jobs print goes to `workers/ray-<n>.log` in it.
    """

    class Config(Launcher.Config):
        """Which cluster, and what a job takes of it."""

        address: str | None = None
        """Of a running cluster, `auto` for the one of this machine; None starts one here and stops it."""
        num_cpus: PositiveInt = 1
        """A job's, and its threads."""
        num_gpus: NonNegativeFloat = 0
        """A job's; a fraction shares one."""
        max_jobs: PositiveInt | None = None
        """At once; None for as many as the cluster has room for."""

        def problems(self) -> list[tuple[str, str]]:
            """Return what is missing on this machine."""
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
        self.lock, self.stopped = threading.Lock(), False
        self.before: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Join the cluster, or start one that only this process can use."""
        super().__enter__()
        self.before = dict(os.environ)
        address = self.config.address
        for key, value in (QUIET | (_private_environment() if address is None else {})).items():
            os.environ.setdefault(key, value)
        import ray

        own = {"num_cpus": num_cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        arguments: dict[str, Any] = {"address": address} if address else {"address": "local", **own}
        try:
            ray.init(**arguments, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError, ValueError) as error:
            self._leave()
            raise InputError(f"launcher.address: no Ray cluster at {address!r} ({error})") from error
        if self._room() < 1:
            self._leave()
            raise InputError(f"launcher.num_cpus, num_gpus: a job needs {self.needs}, more than any node has")
        return self

    def _room(self) -> int:
        """Return how many jobs fit; each needs all its cores and GPUs on one node."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        return sum(
            int(min(node.get(kind, 0) // needed for kind, needed in self.needs.items())) for node in nodes
        )

    @property
    def num_workers(self) -> int:
        """Return how many jobs run at once; follows a cluster that grows."""
        return self.config.max_jobs or max(1, self._room())

    def run(self, payload: Payload) -> int:
        """Run a job as a task of the cluster."""
        import ray

        log = self.folder / "workers" / f"ray-{next(self.numbers)}.log"
        num_cpus = self.config.num_cpus
        options = {"num_cpus": num_cpus, "num_gpus": self.config.num_gpus, "max_retries": 0}
        remote: Any = ray.remote(**options)(_run_apart)  # type: ignore[call-overload]
        with self.lock:
            if self.stopped:
                raise JobError(STOPPED)
            reference = remote.remote(
                self.task, dict(payload), str(log), num_cpus, str(Path.cwd()), import_path()
            )
            self.running.add(reference)
        try:
            ended: int | str = ray.get(reference)
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().partition("\n")[0]
            raise JobError(f"{type(error).__name__}: {first_line or STOPPED}; see {log}") from error
        finally:
            self.running.discard(reference)
        if isinstance(ended, str):
            raise JobError(ended)
        return ended

    def stop(self) -> None:
        """Cancel what runs, and wait for it."""
        import ray

        with self.lock:
            self.stopped, running = True, list(self.running)
        for force in (False, True):  # asked, Ray's worker stops the job's process and what that has started
            for reference in running:
                ray.cancel(reference, force=force)
            if running:
                _, running = ray.wait(running, num_returns=len(running), timeout=STOP_SECONDS)

    def __exit__(self, *error: object) -> None:
        """Stop what runs, and the cluster if it was started here."""
        super().__exit__(*error)
        self._leave()

    def _leave(self) -> None:
        import ray

        ray.shutdown()
        for key in (QUIET | _private_environment()).keys() - self.before.keys():
            os.environ.pop(key, None)


def _run_apart(
    task: str, payload: dict[str, Any], log: str, num_threads: int, folder: str, modules: str
) -> int | str:
    """Run a payload on a node, in a process of its own: it may die, and Ray's worker can tell how.

    Ray itself would say no more than that a worker died, and print that over our console.

    Args:
        task: dotted path.
        payload: of the job.
        log: the file for what it prints; its folder is made.
        num_threads: of torch and Faiss.
        folder: that relative paths start from.
        modules: the folders that modules are looked for in too.

    Returns:
        The exit status, or how it died.
    """
    os.chdir(folder)
    worker = WorkerProcess(task, Path(log), threads_environment(num_threads) | {"PYTHONPATH": modules})
    ended = ThreadPoolExecutor(1).submit(worker.run, payload)
    try:
        while not ended.done():
            time.sleep(POLL_SECONDS)  # which Ray interrupts to cancel a task, as it does nothing that waits
        return ended.result()
    except JobError as error:
        return str(error)
    finally:
        worker.terminate()
        worker.close()
