"""Notices about a bundle that is served: a rejected index, held-out interactions, the latest interaction."""

from pathlib import Path
from shlex import quote
from typing import Any

from twotower.bundle.manifest import Manifest, bundle_in, enclosing_run, read_manifest
from twotower.config.errors import InputError
from twotower.data.times import date


def rejection(manifest: Manifest) -> str | None:
    """Return why the index of a bundle was rejected, or None."""
    report = manifest.index.report or {}
    if report.get("ok", True):
        return None
    return f"its index was rejected: {'; '.join(map(str, report.get('problems', [])))}"


def find_bundle(folder: Path, allow_rejected_index: bool) -> Path:
    """Return the absolute path of the bundle in the folder of a run or a bundle.

    Raises:
        InputError: there is no bundle, or its index was rejected and that is not allowed.
    """
    bundle = bundle_in(folder)
    reason = rejection(read_manifest(bundle))
    if reason and not allow_rejected_index:
        run = quote(str(enclosing_run(bundle)))
        raise InputError(
            f"bundle: {bundle}: {reason}; build another with twotower reindex run={run} "
            "index=flat_ip, or set allow_rejected_index=true to serve it"
        )
    return bundle.absolute()


def known_until(manifest: Manifest) -> str | None:
    """Return the time in UTC of the latest interaction in the bundle; None if the log has no times."""
    return None if manifest.known_until is None else date(manifest.known_until)


def bundle_warnings(manifest: Manifest, run: Path | str) -> list[str]:
    """Return warnings about a bundle, one sentence each, with commands that name the run."""
    found, named = [], quote(str(run))
    if reason := rejection(manifest):
        found.append(f"{reason}; twotower reindex run={named} index=flat_ip builds another")
    if lacking := manifest.held_out_interactions:
        found.append(
            f"the bundle does not know {lacking:,} interactions of the log, which the split held out "
            "or dropped, so it can recommend their items again; twotower train "
            f"rebuild_bundle={named} adds them"
        )
    return found


def notices(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Return `known_until` and `warnings` for clients; they name the run without its folder."""
    run = enclosing_run(folder.resolve()).name
    return {"known_until": known_until(manifest), "warnings": bundle_warnings(manifest, run)}
