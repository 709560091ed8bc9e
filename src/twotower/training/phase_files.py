"""What the phases of a training leave in a run's folder, and which first phase was the better one."""

from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.files.atomic import write_text_atomically
from twotower.training.callbacks.checkpointing import FINAL
from twotower.training.checkpoints import read_checkpoint, unusable
from twotower.training.fit import Fitted

FIT, FIT_RANDOM, REFIT = "fit", "fit_random", "refit"
"""The first phase, the same from `initialization=random` where that is compared, and the second phase."""


def same_data(folder: Path, fingerprint: str) -> None:
    """Remember what data a run is trained on; a resumed run must find the same.

    Raises:
        InputError: it was begun on other data.
    """
    path = folder / "checkpoints" / "data_fingerprint"
    if path.is_file() and path.read_bytes() != fingerprint.encode():
        raise InputError(
            f"{folder}: was begun on other data (its content, its split or a file that a feature reads has "
            "changed); bring the data back, or train again"
        )
    write_text_atomically(path, fingerprint)


def final_path(folder: Path, phase: str) -> Path:
    """Return the file that a phase writes when it ends."""
    return folder / "checkpoints" / phase / FINAL


def ended_phase(folder: Path, phase: str) -> tuple[dict[str, Any], Fitted]:
    """Read what a phase ended with, and how it went.

    Raises:
        InputError: the checkpoint is damaged, or another one.
    """
    path = final_path(folder, phase)
    checkpoint = read_checkpoint(path)
    try:
        return checkpoint, Fitted(**checkpoint["fitted"])
    except (KeyError, TypeError) as error:
        raise unusable(path, "does not say how a fit went") from error


def first_phase(folder: Path) -> str:
    """Return the first phase with the better towers: `FIT`, or `FIT_RANDOM` where that ran and is better."""
    scores = _scores(folder)
    return max(scores, key=lambda phase: scores[phase]) if scores else FIT


def compared_initializations(folder: Path, name: str) -> dict[str, Any]:
    """Return what the result says of the starts where two were compared: the better one, and both scores.

    Args:
        folder: of the run.
        name: of the start that the settings choose.
    """
    scores = _scores(folder)
    if not scores:
        return {}
    names = {FIT: name, FIT_RANDOM: "random"}
    return {
        "initialization": names[first_phase(folder)],
        "initialization_scores": {names[phase]: abs(score) for phase, score in scores.items()},
    }


def _scores(folder: Path) -> dict[str, float]:
    if not final_path(folder, FIT_RANDOM).is_file():
        return {}
    return {phase: ended_phase(folder, phase)[1].score or 0.0 for phase in (FIT, FIT_RANDOM)}
