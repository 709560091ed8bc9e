"""Arrays and tables of a bundle: what their files promise is known before anything is made room for."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.data.vocabulary import CHARACTER_BYTES, Vocabulary

VERSION = (1, 0)  # of the format; its headers have at most 64 KB, those of later ones may promise 4 GB


def read_array(path: Path, mapped: bool = False) -> np.ndarray:
    """Read an array of plain values; an InputError if the file does not hold what its header says."""
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


FREE_BYTES = 64 * 2**20  # what any table may unpack to
MOST_TIMES = 256
"""What a larger one may: so many times its file. Columns of few distinct values are packed very small."""
MOST_LONGER = 32
"""How many times as long as they are on average the longest id may be: all take as much room as it does."""
CODECS = {"SNAPPY", "UNCOMPRESSED"}  # what we write; others pack a thousand to one
VALUE_BYTES = 8


def read_table(path: Path, num_rows: int) -> pd.DataFrame:
    """Read a table; an InputError if it has other rows, or unpacks to more than its size warrants."""
    metadata = pq.read_metadata(path)
    if metadata.num_rows != num_rows:
        raise InputError(
            f"{path}: expected {num_rows:,} rows, as the manifest says, found {metadata.num_rows:,}"
        )
    chunks = [
        metadata.row_group(group).column(place)
        for group in range(metadata.num_row_groups)
        for place in range(metadata.num_columns)
    ]
    unknown = sorted({chunk.compression for chunk in chunks} - CODECS)
    if unknown:
        raise InputError(f"{path}: packed with {unknown[0]}; expected {' or '.join(sorted(CODECS))}")
    most = max(FREE_BYTES, MOST_TIMES * path.stat().st_size)
    promised = sum(chunk.total_uncompressed_size + VALUE_BYTES * chunk.num_values for chunk in chunks)
    if promised > most or promised + _text_bytes(path) > most:
        raise InputError(f"{path}: unpacks to more than the {most:,} bytes that its size warrants")
    return pd.read_parquet(path)


def _text_bytes(path: Path) -> int:
    """Return how many bytes the text of a file has, looking at each distinct one once."""
    schema = pq.read_schema(path)
    names = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    if not names:
        return 0
    table = pq.read_table(path, columns=names, read_dictionary=names)
    total = 0
    for column in table.columns:
        for chunk in column.chunks:
            lengths = pa.compute.binary_length(chunk.dictionary).cast(pa.int64())
            total += pa.compute.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def make_vocabulary(path: Path, table: pd.DataFrame, key: str) -> Vocabulary:
    """Return the ids of a table; an InputError unless they are numbers or text, ascending, none too long."""
    if key not in table:
        raise InputError(f"{path}: there is no column {key!r}")
    values = table[key].to_numpy()
    if values.dtype.kind not in "iu":
        if not all(isinstance(value, str) for value in values):
            raise InputError(f"{path}: column {key!r} must hold whole numbers or text")
        lengths = [len(value) for value in values]
        needed = max(lengths, default=0) * len(values) * CHARACTER_BYTES
        even = MOST_LONGER * CHARACTER_BYTES * sum(lengths)
        if needed > max(FREE_BYTES, min(even, MOST_TIMES * path.stat().st_size)):
            raise InputError(
                f"{path}: column {key!r} has an id of {max(lengths):,} characters; to keep all ids as long "
                f"would take {needed:,} bytes"
            )
        values = values.astype(np.str_)
    if not bool(np.all(values[1:] > values[:-1])):
        raise InputError(f"{path}: column {key!r} must hold distinct ids in ascending order")
    return Vocabulary(values)
