"""Small pieces of work, gathered while one thread is busy, and done together; large groups take turns."""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twotower.serving.http.errors import HttpError

A = TypeVar("A")
R = TypeVar("R")
STOP = None


@dataclass(frozen=True)
class Failed:
    """What a piece of work ended with instead of a result."""

    error: Exception


@dataclass(eq=False)
class Group(Generic[A, R]):
    """Pieces that are asked for at once, and the results of the first of them."""

    pieces: Sequence[A]
    future: "asyncio.Future[list[R]]"
    results: list[R | Failed] = field(default_factory=list)


class Batcher(Generic[A, R]):
    """Hands work to one thread; what arrives while it is busy is its next batch.

    Nothing waits for company: an idle thread starts at once, and a busy one finds all that came meanwhile. A
    group that is larger than a batch is done in parts; whatever came meanwhile goes before its next part. A
    batch is closed once its pieces weigh `size`, and told to `observe`; beyond `most_waiting` pieces that are
    not done yet more are refused.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[R]],
        *,
        name: str,
        size: int,
        most_waiting: int,
        weight: Callable[[A], int] = lambda piece: 1,
        observe: Callable[[int], object] = lambda number: None,
    ) -> None:
        self._work, self._size, self._most = work, size, most_waiting
        self._weight, self._observe = weight, observe
        self._queue: queue.SimpleQueue[Group[A, R] | None] = queue.SimpleQueue()
        self._waiting, self._closed = 0, False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do(self, pieces: Sequence[A]) -> list[R]:
        """Return what the work gives for each piece, or raise what it raises for one; 503 if full."""
        if self._closed:
            raise HttpError(503, "the service is stopping", headers={"Retry-After": "5"})
        if self._waiting and self._waiting + len(pieces) > self._most:
            raise HttpError(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[list[R]] = self._loop.create_future()
        self._waiting += len(pieces)
        self._queue.put(Group(pieces, future))
        return await future

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._closed = True
        self._queue.put(STOP)
        self._thread.join()

    def _run(self) -> None:
        line: deque[Group[A, R]] = deque()
        begun: Group[A, R] | None = None
        ended = False
        while line or begun or not ended:
            ended |= self._arrived(line, wait=not (line or begun))
            if begun:
                line.append(begun)
            batch, begun = self._next_batch(line)
            if batch:
                self._finish(batch)

    def _arrived(self, line: "deque[Group[A, R]]", wait: bool) -> bool:
        """Put what came at the end of the line, and tell whether no more will come."""
        try:
            entry = self._queue.get(block=wait)
            while entry is not STOP:
                line.append(entry)
                entry = self._queue.get_nowait()
        except queue.Empty:
            return False
        return True

    def _next_batch(
        self, line: "deque[Group[A, R]]"
    ) -> tuple[list[tuple[Group[A, R], Sequence[A]]], Group[A, R] | None]:
        """Take a batch from the line, and the group that only a part of it is of, if there is one."""
        batch: list[tuple[Group[A, R], Sequence[A]]] = []
        total = 0
        while line and total < self._size:
            group = line.popleft()
            start = end = len(group.results)
            while end < len(group.pieces) and total < self._size:
                total += self._weight(group.pieces[end])
                end += 1
            batch.append((group, group.pieces[start:end]))
            if end < len(group.pieces):
                return batch, group
        return batch, None

    def _finish(self, batch: Sequence[tuple[Group[A, R], Sequence[A]]]) -> None:
        pieces = [piece for _, part in batch for piece in part]
        self._observe(len(pieces))
        results = iter(self._results(pieces))
        for group, part in batch:
            group.results += [next(results) for _ in part]
        done = [group for group, _ in batch if len(group.results) == len(group.pieces)]
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, done)

    def _results(self, pieces: Sequence[A]) -> Sequence[R | Failed]:
        try:
            return self._work(pieces)
        except Exception as error:
            if len(pieces) == 1:
                return [Failed(error)]
            # Whatever went wrong is not to harm the others.
            return [self._results([piece])[0] for piece in pieces]

    def _deliver(self, groups: Sequence[Group[A, R]]) -> None:
        for group in groups:
            self._waiting -= len(group.pieces)
            if group.future.done():  # its client has left
                continue
            failed = [each for each in group.results if isinstance(each, Failed)]
            if failed:
                group.future.set_exception(failed[0].error)
            else:
                group.future.set_result([each for each in group.results if not isinstance(each, Failed)])
