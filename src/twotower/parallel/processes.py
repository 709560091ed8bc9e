"""The processes of a training: those that a launcher has started, or processes on this machine.

torchrun, Slurm and Ray start one process per rank and set `RANK` and `WORLD_SIZE`. Without them, rank 0
starts the other ranks itself, if they are all on this machine.
"""

import contextlib
import datetime
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from twotower.config.exits import exit_without_gc, when_parent_ends
from twotower.config.working_folder import import_from_working_folder
from twotower.files.output import redirect_output
from twotower.parallel.launched import TIMEOUT_SECONDS, LostProcessError, check_launcher, launched_size

CONTEXT = multiprocessing.get_context("spawn")
LOCAL = "127.0.0.1"
TIMEOUT = datetime.timedelta(seconds=TIMEOUT_SECONDS)
GRACE_SECONDS = 10.0


class FailedProcessError(RuntimeError):
    """A process of the training has ended with an error."""


class Processes:
    """The other processes of a training, seen from rank 0.

    Args:
        folder: of the run.

    Attributes:
        children: those that rank 0 has started, with the files of their output; empty if a launcher has.
    """

    def __init__(self, folder: Path) -> None:
        self.children: list[tuple[BaseProcess, Path]] = []
        self.remedy = f"twotower train resume={shlex.quote(str(folder))} continues the run"

    def refuse_if_lost(self, wait_seconds: float = 0.0) -> None:
        """Return if all child processes run.

        Args:
            wait_seconds: for the end of one that is ending.

        Raises:
            LostProcessError: one was killed.
            FailedProcessError: one has ended by itself.
        """
        ends = time.monotonic() + wait_seconds
        while True:
            for number, (child, log) in enumerate(self.children, 1):
                if child.exitcode is not None:
                    kind = LostProcessError if child.exitcode < 0 else FailedProcessError
                    raise kind(f"rank {number} {_end_text(child.exitcode, log)}; see {log}; {self.remedy}")
            if time.monotonic() >= ends:
                return
            time.sleep(0.05)

    @contextlib.contextmanager
    def explain_lost_process(self) -> Iterator[None]:
        """Re-raise a communication error with the rank that exited."""
        try:
            yield
        except RuntimeError as error:
            self.refuse_if_lost(GRACE_SECONDS if is_lost_connection(error) else 0.0)
            if is_lost_connection(error):
                raise LostProcessError(
                    f"another process has ended or cannot be reached; see its output; {self.remedy}"
                ) from error
            raise


def is_lost_connection(error: RuntimeError) -> bool:
    """Return whether an exchange failed because another process has ended."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "connection", "peer"))


def _end_text(status: int, log: Path) -> str:
    if status < 0:
        return f"was killed by signal {-status}{' (out of memory?)' if status == -signal.SIGKILL else ''}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return f"ended with exit status {status} ({lines[-1] if lines else 'no output'})"


@contextlib.contextmanager
def processes(num_devices: int, num_nodes: int, follow: Callable[[], object], folder: Path) -> Iterator[None]:
    """Join the process group as rank 0, and leave it at the end.

    Args:
        num_devices: processes on each machine.
        follow: what the other ranks run; a function of a module.
        folder: of the run; its `ranks/` has the output of processes that this one starts.

    Raises:
        InputError: a launcher has started another number of processes.
        LostProcessError: a process ended before the group was complete.
    """
    size = num_devices * num_nodes
    check_launcher(num_devices, num_nodes)
    if size == 1:
        yield
        return
    before = torch.get_num_threads()
    started = Processes(folder)
    try:
        if launched_size() > 1:
            join()
        else:
            store = TCPStore(LOCAL, 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
            torch.set_num_threads(max(1, before // num_devices))
            _start(started, size, store, follow, folder)
            join(store, 0, size)
        with started.explain_lost_process():
            yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(before)
        ends = time.monotonic() + GRACE_SECONDS
        for child, _ in started.children:
            child.join(max(0.0, ends - time.monotonic()))
            child.kill()


def _start(
    started: Processes, size: int, store: TCPStore, follow: Callable[[], object], folder: Path
) -> None:
    """Start the other ranks on this machine, and wait until all are there."""
    threads = torch.get_num_threads()
    for rank in range(1, size):
        log = folder / "ranks" / f"{rank}.log"
        arguments = (follow, rank, size, store.port, log, threads)
        child = CONTEXT.Process(target=_run_rank, args=arguments, daemon=True)
        child.start()
        started.children.append((child, log))
    while not store.check([_ready(rank) for rank in range(1, size)]):
        started.refuse_if_lost()
        time.sleep(0.05)


def _run_rank(follow: Callable[[], object], rank: int, size: int, port: int, log: Path, threads: int) -> None:
    """Run a rank in a process that rank 0 has started."""
    when_parent_ends(lambda: os._exit(1))
    redirect_output(log)
    exit_without_gc()  # in case of an error, which rank 0 waits for
    print(f"rank {rank} of {size}, process {os.getpid()}", flush=True)
    import_from_working_folder()
    torch.set_num_threads(threads)
    store = TCPStore(LOCAL, port, is_master=False, timeout=TIMEOUT)
    store.set(_ready(rank), "1")
    join(store, rank, size)
    run_follower(follow)
    sys.stderr.flush()
    os._exit(0)  # rank 0 waits: the interpreter's own end takes seconds


def run_follower(follow: Callable[[], object]) -> None:
    """Run the part of another rank than 0, and leave the process group; the end of rank 0 is its end."""
    if threading.current_thread() is threading.main_thread():  # Ray Train runs a rank in another thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends rank 0, which ends this process
    try:
        follow()
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        print(f"rank 0 has ended: {error}", file=sys.stderr)
    finally:
        dist.destroy_process_group()


def _ready(rank: int) -> str:
    return f"ready/{rank}"


def join(store: TCPStore | None = None, rank: int = -1, size: int = -1) -> None:
    """Join the process group of a store, or of a launcher, unless this process is in it already."""
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
