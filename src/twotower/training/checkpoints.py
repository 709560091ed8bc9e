"""Atomic checkpoints with a checksum.

A checkpoint is the zip file of `torch.save`. The comment of the zip is the SHA-256 of all bytes before it, so
`torch.load` reads the file as usual.
"""

import hashlib
import mmap
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from twotower.config.errors import InputError
from twotower.files.atomic import write_atomically

SUM_BYTES = 64
NO_COMMENT, COMMENT = struct.pack("<H", 0), struct.pack("<H", SUM_BYTES)
"""Length field at the end of a zip file without a comment, and with a comment of `SUM_BYTES`."""


class CheckedCheckpoints(TorchCheckpointIO):
    """Checkpoint plugin for Lightning: writes atomically and verifies the checksum on reading."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint."""
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint."""
        return read_checkpoint(Path(path), map_location)


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write plain values and tensors atomically, with a checksum."""

    def write(temporary: Path) -> None:
        torch.save(checkpoint, temporary)  # Lightning would hold a second copy in memory
        with temporary.open("r+b") as file:
            file.seek(-len(NO_COMMENT), os.SEEK_END)
            assert file.read() == NO_COMMENT
            file.seek(-len(NO_COMMENT), os.SEEK_END)
            file.write(COMMENT)
            file.flush()
            file.write(_digest(file, file.tell()))

    write_atomically(path, write)


def read_checkpoint(path: Path, device: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint; it holds plain values and tensors only.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size - SUM_BYTES
            file.seek(max(0, size))
            if size <= 0 or _digest(file, size) != file.read():
                raise unusable(path, "damaged: it does not end with its SHA-256")
            file.seek(0)
            checkpoint: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise unusable(path, "missing") from error
    except InputError:
        raise
    except Exception as error:  # torch raises many types for a foreign file
        raise unusable(path, f"not readable as a checkpoint ({type(error).__name__})") from error
    return checkpoint


def unusable(path: Path, why: str) -> InputError:
    """Return the error of an unusable checkpoint, with a remedy."""
    return InputError(f"{path}: {why}; delete {path.parent}, and resume= repeats that phase")


def _digest(file: BinaryIO, num_bytes: int) -> bytes:
    """Return the SHA-256 of the first bytes of a file, in hexadecimal."""
    with mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest().encode("ascii")
