"""New runs on grown data: train the towers of a run further, or rebuild its bundle without training."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.problems import Problem, raise_problems
from twotower.config.run_keys import WARM_START
from twotower.pipeline.run_config import checked_run
from twotower.pipeline.train_run import train
from twotower.runs.fingerprint import override_key
from twotower.runs.result import read_finished_result
from twotower.runs.run import Run, run_folder

REBUILD_BUNDLE = "rebuild_bundle"
TOWER_KEYS = ("embedding_dim", "features", "history", "user_tower", "item_tower", "item_bias")
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
        folder: the new folder; by default it is named by the overrides.
    """
    before = read_finished_result(source, WARM_START)
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
    read_finished_result(source, REBUILD_BUNDLE)
    untrained = {WARM_START: {"run": str(source), "epochs": 0, "replay": 0.0}}
    return _train_next_to(source, dict(changes) | untrained, REBUILD_BUNDLE, overrides, trusted, folder)


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
    new = [text for text in overrides if override_key(text) != "run"]
    latest = {override_key(text): text for text in [*old.overrides, *new]}  # the last override of each key
    config = checked_run(settings, [*latest.values()], "the run's settings with these changes")
    folder = folder or run_folder(source.parent, [name, *new])
    return train(config, folder, keep_after_input_error=False)


def refuse_other_towers(mode: str, overrides: Sequence[str]) -> None:
    """Refuse overrides that would change the architecture of the towers.

    Raises:
        InputError: lists the keys.
    """
    keys = dict.fromkeys(override_key(text) for text in overrides)
    message = f"defines the towers, which {mode}= takes from the run; leave it out, or train from scratch"
    raise_problems(
        (Problem(key, message) for key in keys if key.partition(".")[0] in TOWER_KEYS),
        f"the overrides of {mode}=",
    )
