"""A run once more, and whether it came out the same, bit for bit."""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from twotower.config.errors import InputError
from twotower.config.exits import DONE, FAILED
from twotower.config.problems import raise_problems
from twotower.files.atomic import sha256_of_file
from twotower.pipeline.run_config import problems_of
from twotower.pipeline.train_run import train
from twotower.reports.console.choose import make_console
from twotower.reports.console.console import Console
from twotower.runs.fingerprint import changed_keys
from twotower.runs.provenance import provenance, versions
from twotower.runs.result import Result, describe_status, read_result, write_result
from twotower.runs.result_parts import Provenance
from twotower.runs.run import Run, run_folder

EXACT_FILES = ("bundle/towers.safetensors", "bundle/item_embeddings.npy")


def rerun(source: Path, trusted_packages: Collection[str] = (), console: str | None = None) -> int:
    """Train a run again from its settings, beside it, and compare the two; returns the exit status.

    Args:
        source: folder of the run.
        trusted_packages: whose classes its file of settings may name.
        console: instead of the run's.

    Raises:
        InputError: there is no run that ended well, or its settings no longer pass the checks.
    """
    old = Run.open(source, trusted_packages)
    before = read_result(source)
    if before is None or not before.finished:
        raise InputError(
            f"rerun={source}: this run {describe_status(before)}; only a run that ended well can be repeated"
        )
    settings = old.settings | {"reuse": False} | ({} if console is None else {"console": console})
    raise_problems(problems_of(settings), f"{source}/config.yaml")
    screen = make_console(settings["console"])
    _use_threads(before)
    changed = differences(before, Provenance(**provenance()), versions())
    for line in changed:
        screen.say(f"differs from then: {line}")
    folder = run_folder(source.parent, [f"rerun={source.name}"])
    train(settings, folder, old.overrides, keep_after_input_error=False)
    after = read_result(folder)
    assert after is not None
    if before.data.fingerprint != after.data.fingerprint:
        changed.append("data: the content of the files, or the split")
    if before.data.feature_files != after.data.feature_files:
        names = changed_keys(before.data.feature_files, after.data.feature_files)
        changed.append(f"features: the content of the files that {names} read")
    unequal = not_reproduced(before, after, source, folder)
    told = after.update(rerun_of=str(source), reproduced=not unequal, changed_since=changed)
    write_result(folder, told)
    _tell(screen, len(after.metrics), unequal, changed)
    return FAILED if unequal else DONE


def differences(before: Result, now: Provenance, versions: Mapping[str, str]) -> list[str]:
    """Say which of code, versions and machine are not what they were.

    Args:
        before: the run's result.
        now: the provenance of this process.
        versions: its.
    """
    then = before.provenance
    found = []
    if then.code.get("fingerprint") != now.code["fingerprint"]:
        commits = [place.code.get("commit") or "unknown" for place in (then, now)]
        found.append(f"code: commit {commits[0][:10]} then, {commits[1][:10]} now, or files changed since")
    for what, old, new in (
        ("versions", before.versions, versions),
        ("machine", then.machine, now.machine),
    ):
        found += [
            f"{what}: {key} {old.get(key)} then, {new.get(key)} now"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
    return found


def not_reproduced(before: Result, after: Result, source: Path, folder: Path) -> list[str]:
    """Return the metrics that are not equal to the last bit, and the files of towers that are not."""
    keys = set(after.metrics)
    if before.training_reused_from is None:  # else some are of the run that it took towers from
        keys |= before.metrics.keys()
    unequal = [
        f"{key}: {before.metrics.get(key)} then, {after.metrics.get(key)} now"
        for key in sorted(keys)
        if before.metrics.get(key) != after.metrics.get(key)
    ]
    both = [name for name in EXACT_FILES if (source / name).is_file() and (folder / name).is_file()]
    return unequal + [
        f"{name}: other bytes"
        for name in both
        if sha256_of_file(source / name) != sha256_of_file(folder / name)
    ]


def _use_threads(before: Result) -> None:
    import torch

    threads = before.provenance.machine.get("threads")
    if threads:
        torch.set_num_threads(threads)


def _tell(console: Console, num_metrics: int, unequal: list[str], changed: list[str]) -> None:
    if not unequal:
        console.say(f"repeated: all {num_metrics} metrics and the towers are identical, bit for bit")
        return
    print(f"not repeated: {len(unequal)} differ, such as {unequal[0]}", file=sys.stderr)
    why = "; ".join(changed) or "nothing known: please report this"
    print(f"what differs from then: {why}", file=sys.stderr)
