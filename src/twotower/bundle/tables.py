"""Tables of a bundle: how much they unpack to is known before they are unpacked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.data.vocabulary import CHARACTER_BYTES, Vocabulary

FREE_BYTES = 64 * 2**20
"""What any table may unpack to."""

MOST_TIMES = 256
"""What a larger one may: so many times its file. Columns of few distinct values are packed very small."""

MOST_LONGER = 32
"""How many times as long as they are on average the longest id may be: all take as much room as it does."""

CODECS = {"SNAPPY", "UNCOMPRESSED"}
"""What we write; others pack a thousand to one."""

VALUE_BYTES = 8


def read_table(path: Path, num_rows: int) -> pd.DataFrame:
    """Read a table.

    Raises:
        InputError: it has another number of rows, or unpacks to more than its size warrants.
    """
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


def vocabulary_of(path: Path, table: pd.DataFrame, key: str) -> Vocabulary:
    """Return the ids of a table.

    Raises:
        InputError: they are neither whole numbers nor text, or do not ascend, or one is far longer than the
            others.
    """
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
