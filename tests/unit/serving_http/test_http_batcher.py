"""Work is gathered while the thread is busy, and no piece harms another."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from twotower.serving.http.batcher import Batcher
from twotower.serving.http.errors import HttpError


class Gated:
    """Squares numbers, once it is let."""

    def __init__(self) -> None:
        self.go, self.busy = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(numbers))
        self.busy.set()
        assert self.go.wait(10)
        if 13 in numbers:
            raise ValueError("thirteen")
        return [ValueError("negative") if number < 0 else number**2 for number in numbers]


def batcher(work: Gated, size: int = 4, most: int = 100) -> Batcher[int, int]:
    return Batcher(work, name="test", size=size, most_waiting=most)


async def busy_with(work: Gated, squares: Batcher[int, int], number: int) -> "asyncio.Task[int]":
    task = asyncio.create_task(squares.do(number))
    await asyncio.to_thread(work.busy.wait, 10)
    return task


def test_an_idle_thread_starts_at_once_and_a_busy_one_gathers() -> None:
    async def main() -> None:
        work = Gated()
        squares = batcher(work)
        first = await busy_with(work, squares, 1)
        others = [asyncio.create_task(squares.do(number)) for number in range(2, 8)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(first, *others) == [1, 4, 9, 16, 25, 36, 49]
        assert work.batches == [[1], [2, 3, 4, 5], [6, 7]]
        squares.close()

    asyncio.run(main())


def test_a_large_piece_closes_its_batch() -> None:
    async def main() -> None:
        work = Gated()
        squares = batcher(work)
        first = await busy_with(work, squares, 1)
        others = [asyncio.create_task(squares.do(number, number)) for number in (2, 9, 3)]
        await asyncio.sleep(0)
        work.go.set()
        await asyncio.gather(first, *others)
        assert work.batches == [[1], [2, 9], [3]]
        squares.close()

    asyncio.run(main())


def test_what_is_wrong_with_one_is_told_to_that_one() -> None:
    async def main() -> None:
        work = Gated()
        squares = batcher(work)
        first = await busy_with(work, squares, 1)
        tasks = [asyncio.create_task(squares.do(number)) for number in (2, -3, 13, 4)]
        await asyncio.sleep(0)
        work.go.set()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [str(result) for result in results] == ["1", "4", "negative", "thirteen", "16"]
        squares.close()

    asyncio.run(main())


def test_a_client_that_leaves_does_not_break_the_batch() -> None:
    async def main() -> None:
        work = Gated()
        squares = batcher(work, most=3)
        first = await busy_with(work, squares, 1)
        leaving, staying = asyncio.create_task(squares.do(2)), asyncio.create_task(squares.do(3))
        await asyncio.sleep(0)
        leaving.cancel()
        work.go.set()
        assert (await first, await staying) == (1, 9)
        assert leaving.cancelled()
        # its place is free again: three fit
        assert await asyncio.gather(*(squares.do(number) for number in (4, 5, 6))) == [16, 25, 36]
        squares.close()

    asyncio.run(main())


def test_too_much_is_refused_and_what_waits_is_done_before_the_end() -> None:
    async def main() -> None:
        work = Gated()
        squares = batcher(work, most=2)
        first = await busy_with(work, squares, 1)
        second = asyncio.create_task(squares.do(2))
        await asyncio.sleep(0)
        with pytest.raises(HttpError) as refused:
            await squares.do(3)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        closing = asyncio.create_task(asyncio.to_thread(squares.close))
        work.go.set()
        assert (await first, await second) == (1, 4)
        await closing
        with pytest.raises(HttpError, match="stopping"):
            await squares.do(4)

    asyncio.run(main())
