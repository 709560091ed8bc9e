"""Arrays and tables of a bundle; sizes in file headers are checked before memory is allocated."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.data.vocabulary import CHARACTER_BYTES, Vocabulary

VERSION = (1, 0)  # headers of later versions of the format may be 4 GB long, those of 1.0 at most 64 KB


def read_array(path: Path, mapped: bool = False) -> np.ndarray:
    """Read an array of numbers. Raises InputError if the file disagrees with its header."""
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != VERSION:
                raise ValueError(f"expected version {VERSION[0]}.{VERSION[1]} of the format")
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            num_bytes = path.stat().st_size - file.tell()
        if dtype.hasobject:
            raise ValueError("it contains objects, which require pickle")
        if fortran_order and len(shape) > 1:
            raise ValueError("it is in column-major order")
        expected = math.prod(shape) * dtype.itemsize
        if expected != num_bytes or min(shape, default=0) < 0:
            raise ValueError(
                f"its header declares {dtype} {shape}, {expected:,} bytes, but {num_bytes:,} follow"
            )
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except Exception as error:  # the header is a Python literal, which can raise many kinds of errors
        raise InputError(f"{path}: not a plain numpy array ({error})") from error
    assert (array.shape, array.dtype) == (shape, dtype)
    return array


FREE_BYTES = 64 * 2**20  # every table may have this size in memory
MAX_RATIO = 256
"""Largest allowed ratio of memory to file size of larger tables."""
MAX_LENGTH_RATIO = 32
"""Largest allowed ratio of the longest to the average id, because numpy pads all ids to the longest."""
CODECS = {"SNAPPY", "UNCOMPRESSED"}  # other codecs compress up to a thousand times
VALUE_BYTES = 8


def read_table(path: Path, num_rows: int) -> pd.DataFrame:
    """Read a table. Raises InputError if the number of rows is wrong or the table is too large."""
    metadata = pq.read_metadata(path)
    if metadata.num_rows != num_rows:
        raise InputError(
            f"{path}: expected {num_rows:,} rows, as the manifest says, found {metadata.num_rows:,}"
        )
    chunks = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    unknown = sorted({chunk.compression for chunk in chunks} - CODECS)
    if unknown:
        raise InputError(f"{path}: compressed with {unknown[0]}; expected {' or '.join(sorted(CODECS))}")
    most = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
    num_bytes = sum(chunk.total_uncompressed_size + VALUE_BYTES * chunk.num_values for chunk in chunks)
    if num_bytes > most or num_bytes + _text_bytes(path) > most:
        raise InputError(f"{path}: takes more memory than the {most:,} bytes allowed for its size")
    return pd.read_parquet(path)


def _text_bytes(path: Path) -> int:
    """Return the number of bytes of all text columns of a file, reading each distinct text once."""
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
    """Return the ids of a table. Raises InputError unless they are numbers or text, ascending."""
    if key not in table:
        raise InputError(f"{path}: column {key!r} is missing")
    values = table[key].to_numpy()
    if values.dtype.kind not in "iu":
        if not all(isinstance(value, str) for value in values):
            raise InputError(f"{path}: column {key!r} must contain whole numbers or text")
        lengths = [len(value) for value in values]
        needed = max(lengths, default=0) * len(values) * CHARACTER_BYTES
        even = MAX_LENGTH_RATIO * CHARACTER_BYTES * sum(lengths)
        if needed > max(FREE_BYTES, min(even, MAX_RATIO * path.stat().st_size)):
            raise InputError(
                f"{path}: column {key!r} has an id of {max(lengths):,} characters; ids padded to that "
                f"length would take {needed:,} bytes"
            )
        values = values.astype(np.str_)
    if not bool(np.all(values[1:] > values[:-1])):
        raise InputError(f"{path}: column {key!r} must contain distinct ids in ascending order")
    return Vocabulary(values)
