"""Arrays of a bundle: what a header promises must be in the file before anything is made room for."""

import math
from pathlib import Path

import numpy as np

from twotower.config.errors import InputError

VERSION = (1, 0)
"""Of the format; its headers have at most 64 KB, those of later ones may promise 4 GB."""


def read_array(path: Path, mapped: bool = False) -> np.ndarray:
    """Read an array of plain values.

    Raises:
        InputError: it is no such file, or does not hold what its header says.
    """
    try:
        shape, dtype = _header(path)
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except Exception as error:  # a header is Python's own syntax, and has all of its ways to be wrong
        raise InputError(f"{path}: not a plain numpy array ({error})") from error
    assert (array.shape, array.dtype) == (shape, dtype)
    return array


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != VERSION:
            raise ValueError(f"expected version {VERSION[0]}.{VERSION[1]} of the format")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        there = path.stat().st_size - file.tell()
    if dtype.hasobject:
        raise ValueError("it holds objects, which only pickle reads")
    if fortran_order and len(shape) > 1:
        raise ValueError("its columns come before its rows")
    promised = math.prod(shape) * dtype.itemsize
    if promised != there or min(shape, default=0) < 0:
        raise ValueError(f"its header promises {dtype} {shape}, {promised:,} bytes, and {there:,} follow")
    return shape, dtype
