"""Vectors of a `.npy`, Parquet or safetensors file as one array."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file

from twotower.config.errors import InputError
from twotower.files.part_files import PARQUET

NUMPY, SAFETENSORS = ".npy", ".safetensors"


def read_vectors(key: str, path: Path) -> np.ndarray:
    """Return vectors [N, D]; a `.npy` file is memory-mapped.

    A Parquet file has one column of lists of equal length, such as the `vector` of `twotower embed`. A
    safetensors file has one tensor.

    Args:
        key: setting that names the file.

    Raises:
        InputError: the file is missing, or has no such column or tensor.
    """
    readers = {NUMPY: _read_numpy, PARQUET: _read_parquet, SAFETENSORS: _read_safetensors}
    if path.suffix not in readers:
        raise InputError(f"{key}={path}: expected the name of a file that ends in {', '.join(readers)}")
    if not path.is_file():
        raise InputError(f"{key}={path}: there is no such file")
    try:
        vectors = readers[path.suffix](path)
    except (EOFError, OSError, ValueError, pa.ArrowException, SafetensorError) as error:
        raise InputError(f"{key}={path}: not readable ({str(error).strip():.200})") from error
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        found = f"{vectors.dtype} of shape {vectors.shape}"
        raise InputError(f"{key}={path}: expected floats of shape [number, dimension], found {found}")
    return vectors


def _read_numpy(path: Path) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="r")


def _read_parquet(path: Path) -> np.ndarray:
    schema = pq.read_schema(path)
    columns = [field.name for field in schema if pa.types.is_nested(field.type)]
    if len(columns) != 1:
        raise ValueError(f"expected one column of lists, found {', '.join(columns) or 'none'}")
    column, shape = pq.read_table(path, columns=columns)[columns[0]].combine_chunks(), list[int]()
    while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        lengths = (
            column.value_lengths().unique() if pa.types.is_list(column.type) else [column.type.list_size]
        )
        if len(lengths) != 1 or column.null_count:
            raise ValueError(f"column {columns[0]}: expected lists of one length")
        shape, column = [*shape, int(str(lengths[0]))], column.flatten()
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values.reshape(-1, *shape)


def _read_safetensors(path: Path) -> np.ndarray:
    tensors = load_file(path)
    if len(tensors) != 1:
        raise ValueError(f"expected one tensor, found {', '.join(sorted(tensors)) or 'none'}")
    (array,) = tensors.values()
    return np.asarray(array)
