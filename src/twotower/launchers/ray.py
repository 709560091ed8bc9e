"""Jobs as tasks of a Ray cluster."""

import functools
import importlib.util
import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.config.problems import Problem, raise_problems
from twotower.config.spec import NonNegativeFloat, PositiveInt
from twotower.launchers.cores import num_cores
from twotower.launchers.launcher import Handle, JobError, Launcher, Payload
from twotower.launchers.process import WorkerProcess
from twotower.launchers.task import import_path, threads_environment

STOP_SECONDS, OBJECT_STORE_BYTES = 30.0, 100 * 2**20


def quiet_environment() -> dict[str, str]:
    """Return the environment in which Ray sends no statistics and warns of no change of its own."""
    return {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@functools.cache  # Ray reads it once a process
def private_environment() -> dict[str, str]:
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

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """Return what is missing on this machine."""
            if importlib.util.find_spec("ray") is None:
                return [("_target_", "needs Ray: pip install -e '.[ray]'")]
            return []

    config: Config

    def __init__(self, config: Config, task: str, folder: Path) -> None:
        super().__init__(config, task, folder)
        self.needs: dict[str, float] = {"CPU": config.num_cpus}
        if config.num_gpus:
            self.needs["GPU"] = config.num_gpus
        self.handles: list[RayHandle] = []
        self.submitted = 0
        self.before: dict[str, str] = {}

    def __enter__(self) -> "Ray":
        """Join the cluster, or start one that only this process can use."""
        raise_problems(Problem(f"launcher.{key}", message) for key, message in self.config.problems(Facts()))
        self.before = dict(os.environ)
        for key, value in (
            quiet_environment() | (private_environment() if self.config.address is None else {})
        ).items():
            os.environ.setdefault(key, value)
        import ray

        own = {"num_cpus": num_cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        arguments: dict[str, Any] = (
            {"address": self.config.address} if self.config.address else {"address": "local", **own}
        )
        try:
            ray.init(**arguments, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError, ValueError) as error:
            self._leave()
            raise InputError(
                f"launcher.address: no Ray cluster at {self.config.address!r} ({error})"
            ) from error
        self._require_room()
        return self

    def _require_room(self) -> None:
        if self._room() < 1:
            self._leave()
            raise InputError(f"launcher.num_cpus, num_gpus: a job needs {self.needs}, more than any node has")

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

    def submit(self, payload: Payload) -> Handle:
        """Start a task."""
        import ray

        log = self.folder / "workers" / f"ray-{self.submitted}.log"
        options = {"num_cpus": self.config.num_cpus, "num_gpus": self.needs.get("GPU", 0), "max_retries": 0}
        arguments = (
            self.task,
            json.dumps(dict(payload)),
            str(log),
            self.config.num_cpus,
            (str(Path.cwd()), import_path()),
        )
        remote: Any = ray.remote(**options)(run_apart)  # type: ignore[call-overload]
        reference = remote.remote(*arguments)
        self.submitted += 1
        self.handles = [handle for handle in self.handles if not handle.done()]
        self.handles.append(RayHandle(reference, log))
        return self.handles[-1]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what runs, wait for it, and stop the cluster if it was started here."""
        import ray

        running = [handle.reference for handle in self.handles if not handle.done()]
        for force in (False, True):  # asked, Ray's worker stops the job's process and what that has started
            for reference in running:
                ray.cancel(reference, force=force)
            if running:
                _, running = ray.wait(running, num_returns=len(running), timeout=STOP_SECONDS)
        for handle in self.handles:
            handle.settle()
        self._leave()

    def _leave(self) -> None:
        import ray

        ray.shutdown()
        for key in (quiet_environment() | private_environment()).keys() - self.before.keys():
            os.environ.pop(key, None)


class RayHandle:
    """A task of the cluster.

    Args:
        reference: Ray's, to what `run_apart` returns.
        log: what the job prints.
    """

    def __init__(self, reference: Any, log: Path) -> None:
        self.reference, self.log = reference, log
        self.answer: Mapping[str, Any] | None = None
        self.died: str | None = None

    def done(self) -> bool:
        """Say whether it has ended."""
        if self.answer is None and self.died is None:
            import ray

            if ray.wait([self.reference], timeout=0)[0]:
                self.settle()
        return self.answer is not None or self.died is not None

    def settle(self) -> None:
        """Take in how it ended, waiting for it."""
        import ray

        if self.answer is not None or self.died is not None:
            return
        try:
            self.answer = json.loads(ray.get(self.reference, timeout=STOP_SECONDS))
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().partition("\n")[0]
            self.died = f"{type(error).__name__}: {first_line or 'stopped with its launcher'}"

    def result(self) -> int:
        """Return the exit status, waiting for it."""
        import ray

        if not self.done():
            ray.wait([self.reference])
            self.settle()
        if self.answer is None:
            raise JobError(f"{self.died}; see {self.log}")
        if "died" in self.answer:
            raise JobError(self.answer["died"])
        return int(self.answer["status"])


def run_apart(task: str, payload: str, log: str, num_threads: int, place: tuple[str, str]) -> str:
    """Run a payload on a node, in a process of its own: it may die, and Ray's worker can tell how.

    Ray itself would say no more than that a worker died, and print that over our console.

    Args:
        task: dotted path.
        payload: as JSON.
        log: the file for what it prints; its folder is made.
        num_threads: of torch and Faiss.
        place: the folder that relative paths start from, and the folders that modules are looked for in too.

    Returns:
        `status`, or how it died as `died`, as JSON.
    """
    folder, modules = place
    os.chdir(folder)
    environment = threads_environment(num_threads) | {"PYTHONPATH": modules}
    worker = WorkerProcess(0, task, Path(log), environment)
    try:
        return json.dumps({"status": worker.start(json.loads(payload)).result()})
    except JobError as error:
        return json.dumps({"died": str(error)})
    finally:
        worker.stop()
