"""Files that Faiss writes, or that say so, and which Faiss it is."""

import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss

from twotower.config.errors import InputError

FREE_BYTES = 64 * 2**20
"""What a part of any index may take, whatever the size of its file."""

READING = threading.Lock()
"""Faiss has one limit on what it reads, for all threads."""


def read_faiss(path: Path, largest_part: Callable[[int], int]) -> Any:
    """Read a file that Faiss wrote.

    Args:
        largest_part: bytes of the file -> the most that one part of it may take.

    Raises:
        InputError: it is missing or Faiss cannot read it.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such index file")
    try:
        with READING:
            limit = max(FREE_BYTES, largest_part(path.stat().st_size))
            faiss.set_deserialization_vector_byte_limit(limit)  # type: ignore[attr-defined]
            # A cell without items takes 8 bytes of the file, and more of the memory.
            faiss.set_deserialization_loop_limit(path.stat().st_size)  # type: ignore[attr-defined]
            return faiss.read_index(str(path))
    except (RuntimeError, MemoryError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise InputError(f"{path}: is not a whole index file ({reason}); build the index again") from error


def faiss_versions() -> dict[str, str | int]:
    """Return what decides how an index computes: version, SIMD level, compile options, threads, machine."""
    return {
        "faiss": faiss.__version__,
        "simd_level": faiss.SIMDConfig.get_level_name(),
        "compile_options": faiss.get_compile_options().strip(),
        "num_threads": faiss.omp_get_max_threads(),
        "machine": platform.machine(),
    }
