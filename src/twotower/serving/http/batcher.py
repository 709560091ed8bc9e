"""Small pieces of work, gathered while one thread is busy, and done together; large groups take turns."""

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twotower.serving.http.http_errors import HttpError

LOG = logging.getLogger("twotower")
A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Failed:
    """What a piece of work ended with instead of a result."""

    error: Exception


def results_or_raise(results: "Sequence[R | Failed]") -> list[R]:
    """Return results, or raise what the first piece of work without one ended with."""
    for each in results:
        if isinstance(each, Failed):
            raise each.error
    return [each for each in results if not isinstance(each, Failed)]


@dataclass(eq=False)
class Group(Generic[A, R]):
    """Pieces that are asked for at once, the results of the first of them, and who is told of all."""

    pieces: Sequence[A]
    done: "Callable[[Sequence[R | Failed]], object]"
    results: list[R | Failed] = field(default_factory=list)


class Batcher(Generic[A, R]):
    """Hands work to one thread; what arrives while it is busy is its next batch.

    Nothing waits for company but that of the same turn of the event loop: an idle thread starts then, and a
    busy one finds all that came meanwhile. A group that is larger than a batch is done in parts; whatever
    came meanwhile goes before its next part. A batch is closed once its pieces weigh `size`, and told to
    `observe`; beyond `most_waiting` pieces that are not done yet more are refused.
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
        self._line: deque[Group[A, R]] = deque()
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()  # to look at the line; False for the last
        self._called = False
        self._waiting, self._closed = 0, False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do(self, pieces: Sequence[A]) -> list[R]:
        """Return what the work gives for each piece, or raise what it raises for one; 503 if full."""
        future: asyncio.Future[Sequence[R | Failed]] = asyncio.get_running_loop().create_future()

        def done(results: Sequence[R | Failed]) -> None:
            if not future.done():  # else its client has left
                future.set_result(results)

        self.submit(pieces, done)
        return results_or_raise(await future)

    def submit(self, pieces: Sequence[A], done: Callable[[Sequence[R | Failed]], object]) -> None:
        """Have the loop that this is called from call `done` with the results; 503 if full."""
        if self._closed:
            raise HttpError(503, "the service is stopping", headers={"Retry-After": "5"})
        if self._waiting and self._waiting + len(pieces) > self._most:
            raise HttpError(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        self._waiting += len(pieces)
        self._line.append(Group(pieces, done))
        if not self._called:  # once for all of this turn: waking a thread costs as much as an answer
            self._called = True
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._call)

    def _call(self) -> None:
        self._called = False
        self._calls.put(True)

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._closed = True
        self._calls.put(False)
        self._thread.join()

    def _run(self) -> None:
        begun: Group[A, R] | None = None
        ended = False
        while True:
            batch, begun = self._next_batch(begun)
            if batch:
                self._finish(batch)
            elif ended:
                return
            else:
                ended = not self._calls.get()

    def _next_batch(
        self, begun: Group[A, R] | None
    ) -> tuple[list[tuple[Group[A, R], Sequence[A]]], Group[A, R] | None]:
        """Take a batch from the line, behind which a group stands of which a part is done.

        Returns the group that only a part of it is of, too, if there is one.
        """
        batch: list[tuple[Group[A, R], Sequence[A]]] = []
        total = 0
        if begun is not None:
            self._line.append(begun)
        while self._line and total < self._size:
            group = self._line.popleft()
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
            try:
                group.done(group.results)
            except Exception:  # the others are to have their results
                LOG.exception("the results of a batch could not be told")
