"""Write the embeddings of all users or items in shards, as jobs of a launcher."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twotower.bundle.manifest import read_manifest
from twotower.config.errors import InputError
from twotower.config.exits import DONE, stoppable
from twotower.config.problems import Problem, raise_problems
from twotower.experiments.launchers.launcher import Launcher
from twotower.files.part_files import NOTES, RESUMES
from twotower.files.shards import Shard

TASK = "twotower.jobs.embed_shards.write_shard"
JOBS = ".jobs"
"""Folder of the launcher, with the output of the jobs, in the folder of the parts."""


def embed_shards(config: Launcher.Config, count: int, payload: Mapping[str, Any]) -> str:
    """Write all shards, and print a line for each. Returns one line of text.

    Parts of an earlier call are skipped, so the same call continues after an interruption.

    Args:
        config: launcher of the shards; it writes a shard again if the process or node is lost.
        payload: the payload of `write_shard`, without `shard`.

    Raises:
        InputError: the launcher lacks something, there are more shards than rows, or the folder has parts of
            another bundle or command.
        JobError: a shard cannot be written; `RefusedJobError` for a mistake in the settings.
    """
    raise_problems(Problem(f"launcher.{key}", message) for key, message in config.problems())
    bundle, side = Path(payload["bundle"]), payload["side"]
    manifest = read_manifest(bundle)
    if count > (most := manifest.num_users if side == "users" else manifest.num_items):
        raise InputError(f"shards={count}: {bundle} has only {most:,} {side}; expected at most that")
    jobs = [{**payload, "shard": f"{number}/{count}"} for number in range(1, count + 1)]
    waiting = [job for job in jobs if not _is_written(job)]
    launcher = config.build(TASK, Path(payload["folder"]) / JOBS)
    with stoppable(lambda: RESUMES), launcher, stoppable(lambda: RESUMES):  # again: Ray replaces handlers
        for job, _ in launcher.run_all(waiting):
            print(f"shard {job['shard']}  {_part(job)}", flush=True)
    num_rows = sum(pq.read_metadata(_part(job)).num_rows for job in jobs)
    earlier = f" ({count - len(waiting)} of an earlier call)" if len(waiting) < count else ""
    return f"ok  {num_rows:,} {side} in {count} parts{earlier}  {payload['folder']}"


def write_shard(payload: Mapping[str, Any]) -> int:
    """Write a shard unless it is finished; returns the exit status.

    Args:
        payload: `bundle`, `side`, `folder` of all parts, `shard`, `context` and `trusted_packages`; see
            `write_vectors`.
    """
    from twotower.bundle.vectors import write_vectors

    if not _is_written(payload):  # by a call of this task whose node was lost
        side, context, trusted = (payload[key] for key in ("side", "context", "trusted_packages"))
        shard = Shard.parse(payload["shard"])
        print(write_vectors(Path(payload["bundle"]), side, _part(payload), trusted, context, shard))
    return DONE


def _part(payload: Mapping[str, Any]) -> Path:
    return Shard.parse(payload["shard"]).part(Path(payload["folder"]))


def _is_written(payload: Mapping[str, Any]) -> bool:
    """Return whether a shard is finished. Raises InputError if its file is of another bundle or command."""
    part = _part(payload)
    if not part.exists():
        return False
    with contextlib.suppress(OSError, pa.ArrowException):
        found = json.loads((pq.read_schema(part).metadata or {}).get(NOTES, b"{}"))
        expected = {key: payload[key] for key in ("side", "shard")}
        expected["bundle"] = read_manifest(Path(payload["bundle"])).sha256
        if expected.items() <= found.items() and found.get("context", {}) == payload["context"]:
            return True
    raise InputError(
        f"{part}: is damaged, or of another bundle or command; move it away, or name another folder"
    )
