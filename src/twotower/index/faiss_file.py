"""Files that Faiss writes."""

from pathlib import Path
from typing import Any

import faiss

from twotower.errors import InputError


def size_in_file(held: Any) -> int:
    """Return the bytes of a Faiss object's file; written to a counter, so nothing is copied as a whole."""
    total = 0

    def count(chunk: bytes) -> int:
        nonlocal total
        total += len(chunk)
        return len(chunk)

    faiss.write_index(held, faiss.PyCallbackIOWriter(count))  # type: ignore[attr-defined]
    return total


def read_faiss(path: Path) -> Any:
    """Read a file that Faiss wrote.

    Raises:
        InputError: it is missing or Faiss cannot read it.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such index file")
    try:
        return faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path}: is not a whole index file ({reason}); build the index again") from error
