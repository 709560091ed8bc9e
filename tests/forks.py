"""Processes of their own that need not import anything: forks of the process of the tests.

A fresh one takes five seconds of a processor to load torch and what a first training loads, ten times what a
small training takes. Where how a process begins is what is tested, it must be a fresh one.
"""

import contextlib
import importlib
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from services import free_port, wait_until_ready

from twotower.commands.conf import CONF
from twotower.commands.main import main

SCRIPTS = CONF.parent / "scripts"


class Fork:
    """A process that does some work, prints to a file, and is asked and ended as a `subprocess.Popen`."""

    def __init__(self, work: Callable[[], object], out: Path, err: Path | None = None) -> None:
        self.returncode: int | None = None
        with (
            Path(os.devnull).open() as nothing,
            out.open("wb") as file,
            (err or Path(os.devnull)).open("wb") as other,
        ):
            self.pid = _begin(work, nothing.fileno(), file.fileno(), (other if err else file).fileno())

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float = 1200) -> int:
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"process {self.pid} goes on after {timeout:.0f} seconds")
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedWorker(multiprocessing.get_context("fork").Process):  # type: ignore[name-defined,misc]
    """A launcher's worker."""

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads: they only wait
            super().start()

    def run(self) -> None:
        logging.getLogger().handlers.clear()  # those of pytest
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
        super().run()


FORKED = SimpleNamespace(Process=ForkedWorker, Pipe=multiprocessing.Pipe)
"""In place of a context of `multiprocessing`."""


def _begin(work: Callable[[], object], *streams: int) -> int:
    """Start a fork with descriptors as its standard streams; return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads: they only wait
        pid = os.fork()
    if pid == 0:
        _work_and_leave(work, streams)
    return pid


def _work_and_leave(work: Callable[[], object], streams: Sequence[int]) -> None:
    status = 1
    try:
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - until it ends
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        logging.getLogger().handlers.clear()  # those of pytest
        work()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # nothing of the tests' own ending


def _forks_can_train() -> bool:
    """Tell whether a fork can take a gradient; not where the process of the tests has threads for that.

    Nor where there is a GPU, which no fork may use.
    """
    if torch.cuda.is_available():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            torch.ones(1, requires_grad=True).sum().backward()
        except RuntimeError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def serve(*settings: str | Path, out: Path, err: Path) -> Fork:
    """Run `twotower serve`, with as many open files and threads as the process of the tests."""
    importlib.import_module("twotower.serving.http.server")  # once, and not in each fork

    def work() -> None:
        sys.argv = ["twotower", "serve", *map(str, settings)]
        main()

    return Fork(work, out, err)


@contextlib.contextmanager
def serving(bundle: Path, *settings: str) -> Iterator[str]:
    """Serve a run's bundle with a fork, on a free port; yield its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder, name) for name in ("out", "err"))
        process = serve(f"bundle='{bundle}'", f"port={port}", "console=quiet", *settings, out=out, err=err)
        try:
            wait_until_ready(process, url)
            yield url
        finally:
            process.kill()
            process.wait()


def start(
    script: Path, *arguments: str | Path, out: Path, path: Path | None = None
) -> "Fork | subprocess.Popen[bytes]":
    """Run a script in a process of its own, with the packages that are in `path`."""
    command = [str(script), *map(str, arguments)]
    if not _forks_can_train():
        packages = os.pathsep.join(map(str, [*([path] if path else []), *sys.path]))
        with out.open("wb") as file:
            whole = [sys.executable, *command]
            return subprocess.Popen(
                whole, stdout=file, stderr=file, env=os.environ | {"PYTHONPATH": packages}
            )

    def work() -> None:
        sys.argv = command
        sys.path[:0] = [str(script.parent), *([str(path)] if path else [])]
        runpy.run_path(command[0], run_name="__main__")

    return Fork(work, out)


@contextlib.contextmanager
def workers_are_forks() -> Iterator[None]:
    """Let launchers start forks in place of workers that begin anew."""
    if not _forks_can_train():
        yield
        return
    with mock.patch("twotower.experiments.launchers.local.CONTEXT", FORKED):
        yield


@contextlib.contextmanager
def ranks_are_forks() -> Iterator[None]:
    """Let trainings fork ranks from a server process that has imported torch, instead of spawning them.

    The process of the tests is not forked, because it is rank 0 and has threads that exchange tensors.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["twotower.jobs.train_run", "torch._dynamo"])
    with mock.patch("twotower.parallel.processes.CONTEXT", context):
        yield
