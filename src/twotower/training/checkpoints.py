"""Checkpoints that are there whole or not at all, and what to say of one that is damaged."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from twotower.data.atomic import write_atomically
from twotower.errors import InputError


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's own, written beside the final name, synced and renamed (it goes by way of the system's
    temporary folder, from where a move may be a plain copy).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint."""
        write_atomically(
            Path(path), lambda temporary: TorchCheckpointIO.save_checkpoint(self, checkpoint, temporary)
        )


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; it holds plain values and tensors only.

    Raises:
        InputError: it is damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path}: damaged ({type(error).__name__}); delete it, and resume= begins that phase again"
        ) from error
    return checkpoint
