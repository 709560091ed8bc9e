"""Answers requests in batches: those that arrive during one batch form the next."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from twotower.serving.http.http_errors import HttpError

A = TypeVar("A")
R = TypeVar("R")


class Batcher(Generic[A, R]):
    """A bounded queue in front of one thread that works on batches.

    Args:
        work: maps the pieces of a batch to their results.
        batch_size: largest number of pieces in a batch.
        max_waiting: largest number of pieces in the queue; more are refused with 503.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[R]],
        batch_size: int,
        max_waiting: int,
        observe: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._work, self._batch_size, self._max_waiting, self._observe = (
            work,
            batch_size,
            max_waiting,
            observe,
        )
        self._queue: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._task: asyncio.Task[None] | None = None

    async def do(self, pieces: Sequence[A]) -> list[R]:
        """Return the result of each piece, or raise the error of one; HttpError 503 if the queue is full."""
        if self._queue and len(self._queue) + len(pieces) > self._max_waiting:
            raise HttpError(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[R]] = [loop.create_future() for _ in pieces]
        self._queue.extend(zip(pieces, futures, strict=True))
        if self._task is None:  # begins in the next turn of the loop, with all pieces of this turn
            self._task = asyncio.create_task(self._work_on_queue())
        return await asyncio.gather(*futures) if len(futures) > 1 else [await futures[0]]

    def close(self) -> None:
        """End the thread after the current batch."""
        self._thread.shutdown()

    async def _work_on_queue(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(self._batch_size, len(self._queue)))]
                self._observe(len(batch))
                pieces = [piece for piece, _ in batch]
                results = await loop.run_in_executor(self._thread, self._results, pieces)
                for (_, future), complete in zip(batch, results, strict=True):
                    if not future.done():  # else its client has left
                        complete(future)
        finally:
            self._task = None

    def _results(self, pieces: Sequence[A]) -> list[Callable[["asyncio.Future[R]"], None]]:
        """Work on a batch, or on each piece alone if that fails; return what completes each future."""
        try:
            return [partial(_succeed, result) for result in self._work(pieces)]
        except Exception as error:
            if len(pieces) > 1:
                return [complete for piece in pieces for complete in self._results([piece])]
            return [partial(_fail, error)]


def _succeed(result: R, future: "asyncio.Future[R]") -> None:
    future.set_result(result)


def _fail(error: Exception, future: "asyncio.Future[R]") -> None:
    future.set_exception(error)
