"""Atomic checkpoints with a checksum, and the checkpoint that a phase writes when it ends.

A checkpoint is the zip file of `torch.save`, followed by the SHA-256 of its bytes. `torch.load` ignores what
follows the zip file.
"""

import dataclasses
import hashlib
import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.files.atomic import write_atomically
from twotower.training.module import RetrievalModule

FIT, REFIT = "fit", "refit"
"""Phases: the first, and the second on train + valid."""
LAST, INITIAL, BEST, FINAL = "last.ckpt", "initial.ckpt", "best.ckpt", "final.ckpt"
TRAINED_ON = "trained_on"
"""Key of `final.ckpt` for the training interactions, which a warm start must not be tested on."""
NEW_ITEMS = "model.new_items."
"""Prefix of weights that `fit_new_items` computes from the trained ones."""
SUM_BYTES = 64


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
            file.write(_digest(file, file.seek(0, os.SEEK_END)))

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


@dataclass(frozen=True)
class FitResult:
    """The result of one phase.

    Attributes:
        epochs: number of epochs of the best (or last) weights; 0 if the initial embeddings are kept.
        seconds: training time, validation included, in this process.
        examples: number of training examples in this process.
        curves: key -> one value per epoch.
        epoch_steps: optimizer steps per epoch; 0 if unknown.
        chosen: settings that the interactions or the validation split determined, by key.
        score: the monitored metric of the weights, negated if lower is better; None without validation.
    """

    epochs: int
    seconds: float = 0.0
    examples: int = 0
    curves: dict[str, list[float]] = field(default_factory=dict)
    epoch_steps: int = 0
    chosen: dict[str, float | None] = field(default_factory=dict)
    score: float | None = None


def final_path(folder: Path, phase: str) -> Path:
    """Return the path of the file that a phase writes when it ends."""
    return folder / "checkpoints" / phase / FINAL


def write_final(path: Path, weights: dict[str, Any], interactions: Interactions, result: FitResult) -> None:
    """Write the weights, the result and the training interactions of a phase, and delete its progress."""
    columns = ("offsets", "items", "times")
    final = {
        "state_dict": weights,
        "fitted": dataclasses.asdict(result),
        TRAINED_ON: {name: torch.tensor(np.asarray(getattr(interactions, name))) for name in columns},
    }
    write_checkpoint(path, final)
    delete_progress(path.parent)


def delete_progress(folder: Path) -> None:
    """Delete the checkpoints that are needed only to resume a phase, after it has ended."""
    for name in (INITIAL, BEST, LAST):
        (folder / name).unlink(missing_ok=True)


def read_final(folder: Path, phase: str) -> tuple[dict[str, Any], FitResult]:
    """Read the final checkpoint of a phase and its result.

    Raises:
        InputError: the checkpoint is missing, damaged or of another kind.
    """
    path = final_path(folder, phase)
    checkpoint = read_checkpoint(path)
    try:
        return checkpoint, FitResult(**checkpoint["fitted"])
    except (KeyError, TypeError) as error:
        raise unusable(path, "not the final checkpoint of a phase") from error


def load_final(module: RetrievalModule, checkpoint: dict[str, Any]) -> None:
    """Load the weights of a final checkpoint and its boost of new items, and fit their embedding."""
    trained = {key: values for key, values in checkpoint["state_dict"].items() if NEW_ITEMS not in key}
    new_items = {key: values for key, values in module.state_dict().items() if NEW_ITEMS in key}
    module.load_state_dict(trained | new_items)
    module.set_chosen(checkpoint["fitted"]["chosen"])
    module.model.fit_new_items(module.temperature)
