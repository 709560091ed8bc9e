"""New runs on grown data: train the towers of a run further, or rebuild its bundle without training."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.problems import Problem, raise_problems
from twotower.config.run_keys import WARM_START
from twotower.pipeline.run_config import checked_run
from twotower.pipeline.train_run import train
from twotower.runs.fingerprint import key_of
from twotower.runs.result import Result, describe_status, read_result
from twotower.runs.run import Run, run_folder

REBUILD_BUNDLE = "rebuild_bundle"
OF_TOWERS = ("embedding_dim", "features", "history", "user_tower", "item_tower", "item_bias")
"""Root keys that define the towers."""


def warm_start(
    source: Path,
    changes: Mapping[str, Any],
    overrides: Sequence[str] = (),
    trusted: Collection[str] = (),
    folder: Path | None = None,
) -> int:
    """Train the towers of a run further, in a new folder next to it; returns the exit status.

    Args:
        source: folder of the run.
        changes: changed settings, with a `WarmStart`.
        overrides: overrides of the command line.
        trusted: packages whose classes the files of the run may name.
        folder: the new folder; None: named by the overrides.
    """
    before = read_finished_run(source, WARM_START)
    generation = (before.ancestry.generation if before.ancestry else 1) + 1
    return _train_next_to(source, changes, f"generation={generation}", overrides, trusted, folder)


def rebuild_bundle(
    source: Path,
    changes: Mapping[str, Any],
    overrides: Sequence[str] = (),
    trusted: Collection[str] = (),
    folder: Path | None = None,
) -> int:
    """Build a new bundle of the towers of a run without training; see `warm_start`."""
    read_finished_run(source, REBUILD_BUNDLE)
    untrained = {WARM_START: {"run": str(source), "epochs": 0, "replay": 0.0}}
    return _train_next_to(source, dict(changes) | untrained, REBUILD_BUNDLE, overrides, trusted, folder)


def read_finished_run(source: Path, mode: str) -> Result:
    """Return the result of a finished run.

    Raises:
        InputError: the folder holds no finished run.
    """
    try:
        Run.open(source, None)
        result = read_result(source)
    except InputError as error:
        raise InputError(f"{mode}={source}: {str(error).removeprefix(f'{source}: ')}") from error
    if result is None or not result.finished:
        pruned = result is not None and result.status == "pruned"
        remedy = "name another run" if pruned else f"finish it with twotower train resume={source}"
        raise InputError(f"{mode}={source}: this run {describe_status(result)}; {remedy}")
    return result


def _train_next_to(
    source: Path,
    changes: Mapping[str, Any],
    name: str,
    overrides: Sequence[str],
    trusted: Collection[str],
    folder: Path | None,
) -> int:
    old = Run.open(source, trusted)
    settings = old.settings | dict(changes)
    new = [text for text in overrides if key_of(text) != "run"]
    last = {key_of(text): text for text in [*old.overrides, *new]}  # of several overrides of one key
    config = checked_run(settings, [*last.values()], "the run's settings with these changes")
    folder = folder or run_folder(source.parent, [name, *new])
    return train(config, folder, keep_after_input_error=False)


def refuse_other_towers(mode: str, overrides: Sequence[str]) -> None:
    """Refuse overrides that would change the architecture of the towers.

    Raises:
        InputError: lists the keys.
    """
    keys = dict.fromkeys(key_of(text) for text in overrides)
    message = f"defines the towers, which {mode}= takes from the run; leave it out, or train from scratch"
    raise_problems(
        (Problem(key, message) for key in keys if key.partition(".")[0] in OF_TOWERS),
        f"the overrides of {mode}=",
    )
