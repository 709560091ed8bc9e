"""Small pieces of work, gathered while one thread is busy, and done together."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twotower.serving.http.errors import HttpError

A = TypeVar("A")
R = TypeVar("R")
STOP = None


class Batcher(Generic[A, R]):
    """Hands work to one thread; what arrives while it is busy is its next batch.

    Nothing waits for company: an idle thread starts at once, and a busy one finds all that came meanwhile.

    Args:
        work: pieces -> what each gives, or the exception that it ends with; called in the thread.
        name: of the thread.
        size: a batch is closed once it has this size.
        most_waiting: the size of all that is not done yet, beyond which more is refused.
        observe: told the size of each batch, in the thread.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[R | Exception]],
        *,
        name: str,
        size: int,
        most_waiting: int,
        observe: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._work, self._size, self._most, self._observe = work, size, most_waiting, observe
        self._queue: queue.SimpleQueue[tuple[A, int, asyncio.Future[R]] | None] = queue.SimpleQueue()
        self._waiting, self._closed = 0, False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do(self, piece: A, size: int = 1) -> R:
        """Return what the work gives for a piece.

        Raises:
            HttpError: 503, because too much is waiting, or this is closed.
            Exception: what the work says of this piece.
        """
        if self._closed:
            raise HttpError(503, "the service is stopping", headers={"Retry-After": "5"})
        if self._waiting and self._waiting + size > self._most:
            raise HttpError(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = self._loop.create_future()
        self._waiting += size
        self._queue.put((piece, size, future))
        return await future

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._closed = True
        self._queue.put(STOP)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not STOP:
            batch, ended = [first], False
            total = first[1]
            while total < self._size and not ended:
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
                if entry is STOP:
                    ended = True
                else:
                    batch.append(entry)
                    total += entry[1]
            self._observe(total)
            results = self._results([piece for piece, _, _ in batch])
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._deliver, batch, results)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            if ended:
                return

    def _results(self, pieces: Sequence[A]) -> Sequence[R | Exception]:
        try:
            return self._work(pieces)
        except Exception as error:
            if len(pieces) == 1:
                return [error]
            # Whatever went wrong is not to harm the others.
            return [self._results([piece])[0] for piece in pieces]

    def _deliver(
        self,
        batch: Sequence[tuple[A, int, "asyncio.Future[R]"]],
        results: Sequence[R | Exception],
    ) -> None:
        for (_, size, future), result in zip(batch, results, strict=True):
            self._waiting -= size
            if future.done():  # its client has left
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
