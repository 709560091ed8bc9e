"""Operations on long arrays, block by block, so that memory is bounded for memory-mapped files.

The pages of a mapped file are released after each block.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from twotower.config.progress import Progress

BLOCK_ROWS = 2**18  # 200 bytes each while a block is sorted: 50 MB
RANGES = 2**16


def blocks(length: int, *mapped: np.ndarray | None, what: str = "") -> Iterator[slice]:
    """Yield consecutive slices of arrays of a length; release the pages of mapped arrays after each.

    With `what`, a progress line is logged for long arrays.
    """
    with Progress(what, length) as advance:
        for start in range(0, length, BLOCK_ROWS):
            yield slice(start, min(start + BLOCK_ROWS, length))
            forget(*mapped)
            if what:
                advance(start + BLOCK_ROWS)


def blocks_of_users(offsets: np.ndarray, *mapped: np.ndarray | None, what: str = "") -> Iterator[slice]:
    """Yield slices of whole users, as many as fit into a block, at least one.

    Args:
        offsets: int64 [num_users + 2], see `Interactions`.
        mapped: arrays whose pages are released, see `blocks`.
        what: label of the progress line.
    """
    start, end = 0, int(offsets[-1])
    with Progress(what, end) as advance:
        while start < end:
            last = int(np.searchsorted(offsets, start + BLOCK_ROWS, side="right")) - 1
            stop = int(offsets[last])
            if stop <= start:  # a user longer than a block
                stop = int(offsets[np.searchsorted(offsets, start, side="right")])
            yield slice(start, stop)
            forget(*mapped)
            start = stop
            if what:
                advance(stop)


def forget(*arrays: np.ndarray | None) -> None:
    """Release the pages of memory-mapped arrays."""
    for array in arrays:
        base: Any = array
        while base is not None and not isinstance(base, mmap.mmap):
            base = getattr(base, "base", None)
        if base is not None and hasattr(base, "madvise"):
            base.madvise(mmap.MADV_DONTNEED)


class Filler(Protocol):
    """An array that is filled from its start."""

    def put(self, values: np.ndarray) -> None:
        """Add the next values."""

    def done(self) -> np.ndarray:
        """Return the filled array."""


class Room(Protocol):
    """An allocator of long arrays: memory or a folder."""

    def array(self, place: str, name: str, kind: DTypeLike, length: int) -> Filler:
        """Allocate the array `name` of a group such as "history_train"."""


class _InMemory:
    def __init__(self, kind: DTypeLike, length: int) -> None:
        self.values, self.filled = np.empty(length, dtype=kind), 0

    def put(self, values: np.ndarray) -> None:
        self.values[self.filled : self.filled + len(values)] = values
        self.filled += len(values)

    def done(self) -> np.ndarray:
        assert self.filled == len(self.values)
        return self.values


class Memory:
    """Allocates arrays in memory."""

    def array(self, place: str, name: str, kind: DTypeLike, length: int) -> Filler:
        """Allocate an array."""
        return _InMemory(kind, length)


MEMORY = Memory()


class _InFile:
    def __init__(self, path: Path, kind: DTypeLike, length: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.kind, self.missing = path, np.dtype(kind), length
        self.file = path.open("wb")
        about: dict[str, Any] = {
            "descr": np.lib.format.dtype_to_descr(self.kind),
            "fortran_order": False,
            "shape": (length,),
        }
        np.lib.format.write_array_header_1_0(self.file, about)

    def put(self, values: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(values, dtype=self.kind).data)
        self.missing -= len(values)

    def done(self) -> np.ndarray:
        self.file.close()
        assert self.missing == 0
        return mapped(self.path)


class Folder:
    """Allocates arrays as files `group/name.npy` of a folder; filled files are memory-mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def array(self, place: str, name: str, kind: DTypeLike, length: int) -> Filler:
        """Create a file."""
        return _InFile(self.path / place / f"{name}.npy", kind, length)


def mapped(path: Path) -> np.ndarray:
    """Memory-map an array file as a plain array: indexing `np.memmap` is slower."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def highest(values: np.ndarray) -> int:
    """Return the maximum of a long array."""
    return max(int(values[rows].max()) for rows in blocks(len(values), values))


def lowest(values: np.ndarray) -> int:
    """Return the minimum of a long array."""
    return min(int(values[rows].min()) for rows in blocks(len(values), values))


def order_statistic(values: np.ndarray, place: int) -> int:
    """Return the integer at position `place` of the sorted values, without sorting them.

    Counts the values in 65,536 ranges, then divides the range of the result again.
    """
    low, high = lowest(values), highest(values)
    while low < high:
        width = -(-(high - low + 1) // RANGES)
        counts = np.zeros(RANGES + 1, dtype=np.int64)
        for rows in blocks(len(values), values):
            some = values[rows]
            some = some[(some >= low) & (some <= high)]
            counts += np.bincount((some - low) // width, minlength=RANGES + 1)
        ends = np.cumsum(counts)
        found = int(np.searchsorted(ends, place, side="right"))
        place -= int(ends[found] - counts[found])
        low += found * width
        high = min(high, low + width - 1)
    return low


def seen(rows: NDArray[np.int32], size: int) -> NDArray[np.bool_]:
    """Return which of the rows 0..size - 1 occur in a long array, bool [size]."""
    found = np.zeros(size, dtype=np.bool_)
    for block in blocks(len(rows), rows):
        found[rows[block]] = True
    return found
