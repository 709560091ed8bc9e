"""Repeat a run and compare the results bit by bit."""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from twotower.config.exits import DONE, FAILED
from twotower.experiments.console.rich import make_console
from twotower.experiments.runs.fingerprint import changed_keys, flatten
from twotower.experiments.runs.result import Result, read_finished_result, read_result, write_result
from twotower.experiments.runs.run import Run, run_folder
from twotower.experiments.runs.run_files import RESULT
from twotower.files.atomic import file_sha256
from twotower.jobs.run_config import checked_run
from twotower.jobs.train_run import train

EXACT_FILES = ("bundle/towers.safetensors", "bundle/item_embeddings.npy")


def rerun(
    source: Path, trusted_packages: Collection[str] = (), changes: Mapping[str, Any] | None = None
) -> int:
    """Train a run again from its settings, in a new folder, and compare the two; returns the exit status.

    `changes` has settings of the run that do not matter for its figures, such as the console.
    """
    old = Run.open(source, trusted_packages)
    before = read_finished_result(source, "rerun")
    settings = old.settings | {"reuse": False} | dict(changes or {})
    config = checked_run(settings, old.overrides, f"{source}/config.yaml")
    screen = make_console(config.console)
    if threads := before.provenance.machine.get("threads"):
        import torch

        torch.set_num_threads(threads)
    folder = run_folder(source.parent, [f"rerun={source.name}"])
    train(config, folder, keep_after_input_error=False)
    after = read_result(folder)
    assert after is not None
    unequal = not_reproduced(before, after, source, folder)
    write_result(folder, after.update(rerun_of=str(source), reproduced=not unequal))
    if not unequal:
        screen.say(f"repeated: all {len(after.metrics)} metrics and the towers are identical, bit for bit")
        return DONE
    causes = changed_keys(_conditions(before), _conditions(after)) or "no known cause; please report it"
    print(f"not repeated: {len(unequal)} differ, such as {unequal[0]}", file=sys.stderr)
    print(f"changed since the run: {causes} (see both {RESULT})", file=sys.stderr)
    return FAILED


def _conditions(result: Result) -> dict[str, Any]:
    """Return what must be equal for equal results, by the names of `result.json`."""
    conditions = {
        "versions": result.versions,
        "provenance": {
            "code": {"fingerprint": result.provenance.code.get("fingerprint")},
            "machine": result.provenance.machine,
        },
        "data": {"fingerprint": result.data.fingerprint, "feature_files": dict(result.data.feature_files)},
    }
    return flatten(conditions)


def not_reproduced(before: Result, after: Result, source: Path, folder: Path) -> list[str]:
    """Return the metrics and the files of the towers that are not bit-identical."""
    keys = set(after.metrics)
    if before.training_reused_from is None:  # otherwise some metrics are of another run
        keys |= before.metrics.keys()
    unequal = [
        f"{key}: {before.metrics.get(key)}, now {after.metrics.get(key)}"
        for key in sorted(keys)
        if before.metrics.get(key) != after.metrics.get(key)
    ]
    files = [(name, source / name, folder / name) for name in EXACT_FILES]
    return unequal + [
        f"{name}: different bytes"
        for name, one, other in files
        if one.is_file() and other.is_file() and file_sha256(one) != file_sha256(other)
    ]
