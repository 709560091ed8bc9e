"""Repeat a run and compare the results bit by bit."""

import sys
from collections.abc import Collection
from pathlib import Path

from twotower.config.exits import DONE, FAILED
from twotower.files.atomic import file_sha256
from twotower.pipeline.run_config import checked_run
from twotower.pipeline.train_run import train
from twotower.reports.console.console import make_console
from twotower.runs.fingerprint import changed_keys
from twotower.runs.provenance import provenance, versions
from twotower.runs.result import Provenance, Result, read_finished_result, read_result, write_result
from twotower.runs.run import Run, run_folder

EXACT_FILES = ("bundle/towers.safetensors", "bundle/item_embeddings.npy")


def rerun(source: Path, trusted_packages: Collection[str] = (), console: str | None = None) -> int:
    """Train a run again from its settings, in a new folder, and compare the two; returns the exit status.

    Args:
        source: folder of the run.
        trusted_packages: packages whose classes the settings may name.
        console: console mode; None selects that of the run.

    Raises:
        InputError: the run is not finished, or its settings are no longer valid.
    """
    old = Run.open(source, trusted_packages)
    before = read_finished_result(source, "rerun")
    settings = old.settings | {"reuse": False} | ({} if console is None else {"console": console})
    config = checked_run(settings, old.overrides, f"{source}/config.yaml")
    screen = make_console(config.console)
    if threads := before.provenance.machine.get("threads"):
        import torch

        torch.set_num_threads(threads)
    now = Result(status="failed", versions=versions(), provenance=Provenance(**provenance()))
    changed = differences(before, now)
    for line in changed:
        screen.say(f"changed since the run: {line}")
    folder = run_folder(source.parent, [f"rerun={source.name}"])
    train(config, folder, keep_after_input_error=False)
    after = read_result(folder)
    assert after is not None
    if before.data.fingerprint != after.data.fingerprint:
        changed.append("data: the content of the files, or the split")
    if before.data.feature_files != after.data.feature_files:
        names = changed_keys(before.data.feature_files, after.data.feature_files)
        changed.append(f"features: the content of the files that {names} read")
    unequal = not_reproduced(before, after, source, folder)
    write_result(folder, after.update(rerun_of=str(source), reproduced=not unequal, changed_since=changed))
    if not unequal:
        screen.say(f"repeated: all {len(after.metrics)} metrics and the towers are identical, bit for bit")
        return DONE
    print(f"not repeated: {len(unequal)} differ, such as {unequal[0]}", file=sys.stderr)
    causes = "; ".join(changed) or "no known cause; please report it"
    print(f"changed since the run: {causes}", file=sys.stderr)
    return FAILED


def differences(before: Result, now: Result) -> list[str]:
    """Return the differences in code, versions and machine between a run and this process."""
    changed = []
    then, code = before.provenance, now.provenance.code
    if then.code.get("fingerprint") != code["fingerprint"]:
        commits = [each.get("commit") or "unknown" for each in (then.code, code)]
        changed.append(f"code: commit {commits[0][:10]}, now {commits[1][:10]}, or uncommitted changes")
    for what, old, new in (
        ("versions", before.versions, now.versions),
        ("machine", then.machine, now.provenance.machine),
    ):
        changed += [
            f"{what}: {key} {old.get(key)}, now {new.get(key)}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
    return changed


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
