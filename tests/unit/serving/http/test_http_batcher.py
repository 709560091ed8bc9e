"""Pieces that arrive during a batch form the next one, and no piece harms another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from twotower.serving.http.batcher import Batcher
from twotower.serving.http.http_errors import HttpError


class Gated:
    """Squares numbers, once it is let."""

    def __init__(self) -> None:
        self.go, self.busy = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.busy.set()
        assert self.go.wait(600)
        if 13 in numbers:
            raise ValueError("thirteen")
        return [number**2 for number in numbers]


@asynccontextmanager
async def busy_with(
    work: Gated, number: int, most: int = 100
) -> AsyncIterator[tuple[Batcher[int, int], "asyncio.Task[list[int]]"]]:
    """A batcher of batches of four, whose thread has begun with a number."""
    squares: Batcher[int, int] = Batcher(work, batch_size=4, max_waiting=most)
    task = asyncio.create_task(squares.do([number]))
    await asyncio.to_thread(work.busy.wait, 600)
    try:
        yield squares, task
    finally:
        work.go.set()
        await asyncio.to_thread(squares.close)


async def asked(squares: Batcher[int, int], *groups: Sequence[int]) -> list["asyncio.Task[list[int]]"]:
    """Tasks that wait, in this order."""
    tasks = [asyncio.create_task(squares.do(group)) for group in groups]
    await asyncio.sleep(0)
    return tasks


def test_an_idle_thread_starts_at_once_and_a_busy_one_gathers() -> None:
    async def main() -> None:
        work = Gated()
        async with busy_with(work, 1) as (squares, first):
            others = await asked(squares, *([number] for number in range(2, 8)))
            work.go.set()
            assert await asyncio.gather(first, *others) == [[1], [4], [9], [16], [25], [36], [49]]
        assert work.batches == [[1], [2, 3, 4, 5], [6, 7]]

    asyncio.run(main())


def test_what_is_wrong_with_one_is_told_to_whoever_asked_for_it() -> None:
    async def main() -> None:
        work = Gated()
        async with busy_with(work, 1) as (squares, first):
            tasks = await asked(squares, [2], [3, 13, 5], [4])
            work.go.set()
            results = await asyncio.gather(first, *tasks, return_exceptions=True)
            assert [str(result) for result in results] == ["[1]", "[4]", "thirteen", "[16]"]

    asyncio.run(main())


def test_a_client_that_leaves_does_not_break_the_batch() -> None:
    async def main() -> None:
        work = Gated()
        async with busy_with(work, 1, most=3) as (squares, first):
            leaving, staying = await asked(squares, [2], [3])
            leaving.cancel()
            work.go.set()
            assert (await first, await staying) == ([1], [9])
            assert leaving.cancelled()
            # its place is free again: three fit
            assert await asyncio.gather(*await asked(squares, [4], [5], [6])) == [[16], [25], [36]]

    asyncio.run(main())


def test_more_than_the_queue_holds_is_refused() -> None:
    async def main() -> None:
        work = Gated()
        async with busy_with(work, 1, most=6) as (squares, first):
            (second,) = await asked(squares, [2, 3, 4, 5, 6])
            with pytest.raises(HttpError) as refused:
                await squares.do([7, 8])
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
            work.go.set()
            assert (await first, await second) == ([1], [4, 9, 16, 25, 36])
            assert await squares.do([7, 8]) == [49, 64]

    asyncio.run(main())
