"""Answers requests in batches: those that arrive during one batch form the next."""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twotower.serving.http.http_errors import HttpError

A = TypeVar("A")
R = TypeVar("R")


class Batcher(Generic[A, R]):
    """A bounded queue in front of one thread that works on batches.

    Args:
        work: maps the requests of a batch to their results.
        batch_size: largest number of requests in a batch.
        max_waiting: largest number of requests in the queue; more get 503.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[R]],
        batch_size: int,
        max_waiting: int,
        observe: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._work, self._observe = work, observe
        self._batch_size, self._max_waiting = batch_size, max_waiting
        self._queue: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._calls: queue.SimpleQueue[asyncio.AbstractEventLoop | None] = queue.SimpleQueue()
        self._is_called = False
        self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
        self._thread.start()

    async def do(self, requests: Sequence[A]) -> list[R]:
        """Return the result of each request, or raise the error of one. Raises HttpError 503: full."""
        if self._queue and len(self._queue) + len(requests) > self._max_waiting:
            raise HttpError(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[R]] = [loop.create_future() for _ in requests]
        self._queue.extend(zip(requests, futures, strict=True))
        if not self._is_called:  # once per turn of the loop: waking a thread takes as long as an answer
            self._is_called = True
            loop.call_soon(self._call, loop)
        return await asyncio.gather(*futures) if len(futures) > 1 else [await futures[0]]

    def close(self) -> None:
        """Finish the requests in the queue, then end the thread."""
        self._calls.put(None)
        self._thread.join()

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_called = False
        self._calls.put(loop)

    def _run(self) -> None:
        while (loop := self._calls.get()) is not None:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(self._batch_size, len(self._queue)))]
                self._observe(len(batch))
                results = self._results([request for request, _ in batch])
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(_complete, [future for _, future in batch], results)

    def _results(self, requests: Sequence[A]) -> "list[Callable[[asyncio.Future[R]], None]]":
        """Work on a batch, or on each request alone if that fails; return what completes each future."""
        try:
            results = self._work(requests)
        except Exception as error:
            if len(requests) > 1:
                return [complete for request in requests for complete in self._results([request])]
            failure = error
            return [lambda future: future.set_exception(failure)]
        return [lambda future, result=result: future.set_result(result) for result in results]  # type: ignore[misc]


def _complete(
    futures: Sequence["asyncio.Future[R]"], results: Sequence[Callable[["asyncio.Future[R]"], None]]
) -> None:
    for future, complete in zip(futures, results, strict=True):
        if not future.done():  # else its client has disconnected
            complete(future)
