"""A run on data that has grown, beside it: its towers trained further, or as they are in a new bundle."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.problems import Problem, raise_problems
from twotower.config.run_keys import WARM_START
from twotower.pipeline.run_config import problems_of
from twotower.pipeline.train_run import train
from twotower.runs.fingerprint import key_of
from twotower.runs.result import Result, describe_status, read_result
from twotower.runs.run import Run, run_folder

REBUILD_BUNDLE = "rebuild_bundle"
OF_TOWERS = ("embedding_dim", "features", "history", "user_tower", "item_tower", "item_bias")
"""Root keys that make the towers, which are the run's."""


def warm_start(
    source: Path,
    changes: Mapping[str, Any],
    overrides: Sequence[str] = (),
    trusted: Collection[str] = (),
    folder: Path | None = None,
) -> int:
    """Train a run's towers further, into a new folder beside it; returns the exit status.

    Args:
        source: folder of the run.
        changes: of its settings, with a `WarmStart`.
        overrides: what was typed.
        trusted: packages whose classes the run's files may name.
        folder: the new one; None names it by what was typed.
    """
    before = read_finished_run(source, WARM_START)
    generation = (before.ancestry.generation if before.ancestry else 1) + 1
    return _beside(source, changes, f"generation={generation}", overrides, trusted, folder)


def rebuild_bundle(
    source: Path,
    changes: Mapping[str, Any],
    overrides: Sequence[str] = (),
    trusted: Collection[str] = (),
    folder: Path | None = None,
) -> int:
    """Make a new bundle of a run's towers as they are, into a new folder beside it; see `warm_start`."""
    read_finished_run(source, REBUILD_BUNDLE)
    untrained = {WARM_START: {"run": str(source), "epochs": 0, "replay": 0.0}}
    return _beside(source, dict(changes) | untrained, REBUILD_BUNDLE, overrides, trusted, folder)


def read_finished_run(source: Path, mode: str) -> Result:
    """Return the result of a run that has ended well.

    Raises:
        InputError: there is no such run, or it has not.
    """
    try:
        Run.open(source, None)
        result = read_result(source)
    except InputError as error:
        raise InputError(f"{mode}={source}: {str(error).removeprefix(f'{source}: ')}") from error
    if result is None or not result.finished:
        pruned = result is not None and result.status == "pruned"
        remedy = "name another" if pruned else f"finish it with twotower train resume={source}"
        raise InputError(f"{mode}={source}: this run {describe_status(result)}; {remedy}")
    return result


def _beside(
    source: Path,
    changes: Mapping[str, Any],
    name: str,
    overrides: Sequence[str],
    trusted: Collection[str],
    folder: Path | None,
) -> int:
    old = Run.open(source, trusted)
    settings = old.settings | dict(changes)
    raise_problems(problems_of(settings), "the run's settings with these changes")
    shown = [text for text in overrides if key_of(text) != "run"]
    # Of what was typed for one key, generation after generation, the last counts.
    typed = {key_of(text): text for text in [*old.overrides, *shown]}
    folder = folder or run_folder(source.parent, [name, *shown])
    return train(settings, folder, [*typed.values()], keep_after_input_error=False)


def refuse_other_towers(mode: str, overrides: Sequence[str]) -> None:
    """Refuse what would make other towers than the run's, by name.

    Raises:
        InputError: lists all of it.
    """
    keys = dict.fromkeys(key_of(text) for text in overrides)
    message = f"is of the run's towers, which {mode}= goes on with as they are; leave it out, or train anew"
    raise_problems(
        (Problem(key, message) for key in keys if key.partition(".")[0] in OF_TOWERS),
        f"what was typed for {mode}=",
    )
