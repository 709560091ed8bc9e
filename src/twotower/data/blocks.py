"""Operations on long arrays, block by block, so that memory is bounded for memory-mapped files.

The pages of a mapped file are released after each block.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from twotower.config.progress import Progress

BLOCK_ROWS = 2**18  # 200 bytes each while a block is sorted: 50 MB


def blocks(length: int, *mapped: np.ndarray | None, what: str = "") -> Iterator[slice]:
    """Yield consecutive slices of arrays of a length; release the pages of mapped arrays after each.

    With `what`, a progress line is logged for long arrays.
    """
    with Progress(what, length) as advance:
        for start in range(0, length, BLOCK_ROWS):
            yield slice(start, min(start + BLOCK_ROWS, length))
            release_pages(*mapped)
            if what:
                advance(start + BLOCK_ROWS)


def blocks_of_users(offsets: np.ndarray, *mapped: np.ndarray | None, what: str = "") -> Iterator[slice]:
    """Yield slices of whole users, as many as fit into a block, at least one; see `blocks`."""
    start, end = 0, int(offsets[-1])
    with Progress(what, end) as advance:
        while start < end:
            last = int(np.searchsorted(offsets, start + BLOCK_ROWS, side="right")) - 1
            stop = int(offsets[last])
            if stop <= start:  # a user longer than a block
                stop = int(offsets[np.searchsorted(offsets, start, side="right")])
            yield slice(start, stop)
            release_pages(*mapped)
            start = stop
            if what:
                advance(stop)


def release_pages(*arrays: np.ndarray | None) -> None:
    """Release the pages of memory-mapped arrays; a later access reads them again."""
    for array in arrays:
        base: Any = array
        while base is not None and not isinstance(base, mmap.mmap):
            base = getattr(base, "base", None)
        if base is not None and hasattr(base, "madvise"):
            base.madvise(mmap.MADV_DONTNEED)


class ArrayWriter:
    """A `.npy` file of known length that is written from its start."""

    def __init__(self, dtype: DTypeLike, length: int, path: Path) -> None:
        self._dtype, self._length, self._path, self._filled = np.dtype(dtype), length, path, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        description = np.lib.format.dtype_to_descr(self._dtype)
        header: dict[str, Any] = {"descr": description, "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, values: np.ndarray) -> None:
        """Add the next values."""
        self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self._filled += len(values)

    def finish(self) -> np.ndarray:
        """Return the filled array, memory-mapped."""
        assert self._filled == self._length
        self._file.close()
        return map_array(self._path)


def map_array(path: Path) -> np.ndarray:
    """Memory-map an array file as a plain array: indexing `np.memmap` is slower."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
