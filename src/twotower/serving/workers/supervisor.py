"""Starts the workers of a service, starts those again that end, and stops them all."""

import contextlib
import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from twotower.config.exits import DONE, FAILED
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.workers.addresses import addresses_of, shared_by_many
from twotower.serving.workers.shared import CLOSING, COUNT_IN, OTHERS_GONE, READY, WRITER, Shared, private

LOG = logging.getLogger("twotower")
LEAST_PAUSE, MOST_PAUSE = 0.1, 30.0
"""Seconds before a worker is started again; twice as many each time that it ends before it answers."""
WAITING = 1024
"""So many changes wait for a writer that is being started."""


def serve_by_workers(settings: Mapping[str, Any]) -> int:
    """Serve with several processes until SIGTERM or SIGINT; return the exit status, or raise InputError."""
    config = ServiceConfig.of(settings)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in shared_by_many(config.host, config.port)]
        shared = stack.enter_context(private(config.workers))
        door = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        door.bind(str(shared.door))
        door.listen(WAITING)
        told = {
            "settings": dict(settings),
            "folder": str(shared.folder),
            "num_workers": config.workers,
            "addresses": addresses_of(sockets),
        }
        return stack.enter_context(_stopped_at_the_end(Workers(shared, told, door))).run()


@dataclass(eq=False)
class Worker:
    """One process, and this end of the socket between it and us."""

    number: int
    process: subprocess.Popen[bytes]
    control: socket.socket
    is_ready: bool = False


class Workers:
    """The processes: the writer first, and the others once it answers."""

    def __init__(self, shared: Shared, told: Mapping[str, Any], door: socket.socket) -> None:
        self._shared, self._told, self._door = shared, told, door
        self._workers: dict[int, Worker] = {}
        self._not_before = dict.fromkeys(range(shared.num_workers), 0.0)
        self._pauses = dict.fromkeys(range(shared.num_workers), LEAST_PAUSE)
        self._answered: set[int] = set()  # at some time
        self._stopping, self._status = False, DONE
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Keep the workers running until told to stop; return the exit status."""
        with _signals() as signals:
            self._selector.register(signals, selectors.EVENT_READ)
            while not (self._stopping and not self._workers):
                self._start_missing()
                for key, _ in self._selector.select(self._seconds()):
                    if key.fileobj is signals:
                        for number in signals.recv(64):
                            self._stop(signal.Signals(number))
                    else:
                        self._hear(key.data)
        return self._status

    def kill(self) -> None:
        """End all that are left, at once."""
        for worker in self._workers.values():
            worker.process.kill()
            worker.process.wait()

    def _missing(self) -> list[int]:
        """Return which are to be started: only the writer while it does not answer."""
        if self._stopping:
            return []
        writer = self._workers.get(WRITER)
        numbers = self._not_before if writer is not None and writer.is_ready else [WRITER]
        return [number for number in numbers if number not in self._workers]

    def _seconds(self) -> float | None:
        """Return how long there is nothing to do unless somebody says something."""
        until = min((self._not_before[number] for number in self._missing()), default=math.inf)
        return None if until == math.inf else max(0.0, until - time.monotonic())

    def _start_missing(self) -> None:
        for number in self._missing():
            if self._not_before[number] <= time.monotonic():
                self._start(number)

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        inherited = [theirs.fileno(), *([self._door.fileno()] if number == WRITER else [])]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "twotower.serving.workers.serving_worker", *map(str, inherited)],
            stdin=subprocess.DEVNULL,
            pass_fds=inherited,
            env=os.environ | {COUNT_IN: str(self._shared.figures)},
            process_group=0,  # Ctrl-C comes to this process, which passes it on once
        )
        theirs.close()
        worker = self._workers[number] = Worker(number, process, ours)
        is_first = number == WRITER and WRITER not in self._answered
        told = {**self._told, "number": number, "is_first": is_first}
        with contextlib.suppress(OSError):  # it has ended, which is seen next
            ours.sendall(orjson.dumps(told) + b"\n")
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _hear(self, worker: Worker) -> None:
        try:
            words = worker.control.recv(64)
        except OSError:
            words = b""
        if READY in words:
            worker.is_ready = True
            self._answered.add(worker.number)
            self._pauses[worker.number] = LEAST_PAUSE
            self._shared.set_ready(worker.number, worker.process.pid)
        if CLOSING in words:
            self._shared.set_ready(worker.number, None)
            self._let_the_writer_go()
        if not words:
            self._ended(worker)

    def _ended(self, worker: Worker) -> None:
        self._selector.unregister(worker.control)
        worker.control.close()
        status = worker.process.wait()
        del self._workers[worker.number]
        self._shared.set_ready(worker.number, None)
        if self._stopping:
            self._let_the_writer_go()
        elif worker.number in self._answered:
            pause = self._pauses[worker.number]
            self._pauses[worker.number] = min(2 * pause, MOST_PAUSE)
            self._not_before[worker.number] = time.monotonic() + pause
            LOG.warning(
                "worker %d (process %d) ended %s; it is started again",
                worker.number,
                worker.process.pid,
                f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}",
            )
        else:  # it has told why: a mistake in the settings, say
            self._status = status if status > 0 else FAILED
            self._stop(signal.SIGTERM)

    def _let_the_writer_go(self) -> None:
        """Tell a writer that closes, unless others are still to end: what they pass on is to be written."""
        writer = self._workers.get(WRITER)
        if writer is not None and not (self._stopping and len(self._workers) > 1):
            with contextlib.suppress(OSError):
                writer.control.sendall(OTHERS_GONE)

    def _stop(self, number: signal.Signals) -> None:
        if number == signal.SIGINT and not self._stopping and WRITER not in self._answered:
            raise KeyboardInterrupt
        self._stopping = True
        for worker in self._workers.values():
            worker.process.send_signal(number if worker.is_ready else signal.SIGTERM)
        if set(self._workers) == {WRITER}:
            self._let_the_writer_go()


@contextlib.contextmanager
def _stopped_at_the_end(workers: Workers) -> Iterator[Workers]:
    try:
        yield workers
    finally:
        workers.kill()


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket that says the numbers of the signals that come, instead of what they do else."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno())
        handlers = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield ours
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)
            signal.set_wakeup_fd(before)
