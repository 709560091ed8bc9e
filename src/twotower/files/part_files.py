"""Parquet files written in parts: atomic, and a killed process loses at most one part."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.files.atomic import (
    clear_temporaries,
    publish_folder,
    temporary_folder,
    write_atomically,
    write_text_atomically,
)
from twotower.files.lock import lock_folder

PLAN = "plan.json"
NOTES = b"twotower"
"""Metadata key of the plan in the file."""
PARQUET = ".parquet"
RESUMES = "the same command continues with the finished parts"
"""Message after SIGTERM or Ctrl-C."""


def parts_folder(out: Path) -> Path:
    """Return the folder of the parts of an unfinished file."""
    return out.with_name(f".{out.name}.parts")


def check_new(out: Path) -> None:
    """Refuse an existing file or folder."""
    if out.exists():
        raise InputError(f"out={out}: exists, and is never overwritten; move it away, or use another name")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that is moved to `out` at the end; `out` must not exist before or then."""
    check_new(out)
    with temporary_folder(out) as folder:
        yield folder
        if not publish_folder(folder, out):
            check_new(out)


def check_out(out: Path) -> None:
    """Refuse names without `.parquet`, and existing files unless an interrupted process left parts."""
    if out.suffix != PARQUET:
        raise InputError(f"out={out}: expected the name of a Parquet file, such as {out.stem}{PARQUET}")
    if not parts_folder(out).exists():
        check_new(out)


def write_in_parts(
    out: Path, plan: Mapping[str, Any], num_parts: int, make: Callable[[int], pa.Table]
) -> int:
    """Write a file in parts, one row group each, and return the number of its rows.

    The same call continues after an interruption.
    Memory holds one part at a time. The content depends only on `plan`, so an interrupted and an
    uninterrupted file are equal byte for byte.

    Args:
        out: the file; must not exist.
        plan: plain values that determine the content; stored in the metadata of the file.
        num_parts: 1 or more.
        make: part number from 0 -> table; all parts have the same columns.

    Raises:
        InputError: the file exists, another process writes it, or existing parts have another plan.
    """
    check_out(out)
    folder = parts_folder(out)
    text = json.dumps(plan, sort_keys=True)
    with lock_folder(folder, "file"):
        _check_plan(folder / PLAN, text, out)
        clear_temporaries(folder)
        if not out.exists():  # else only the folder of the parts is left
            for number in range(num_parts):
                path = folder / f"{number:06d}{PARQUET}"
                if not _is_whole(path):
                    table = make(number)
                    write_atomically(path, partial(pq.write_table, table, write_page_checksum=True))
            whole = folder / f"whole{PARQUET}"
            write_atomically(whole, lambda path: _join(folder, num_parts, text, path))
            write_atomically(out, whole.rename)
    shutil.rmtree(folder)
    return int(pq.read_metadata(out).num_rows)


def _check_plan(path: Path, text: str, out: Path) -> None:
    if not path.exists():
        check_new(out)
    if not out.exists() and not any(path.parent.glob(f"*{PARQUET}")):
        write_text_atomically(path, text)
    if path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"out={out}: the parts in {path.parent} are of another command or bundle; run that command "
            "again to finish its file, or delete that folder to start over"
        )


def _is_whole(path: Path) -> bool:
    """Return whether a part exists and is complete."""
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def _join(folder: Path, num_parts: int, plan: str, target: Path) -> None:
    schema = pq.read_schema(folder / f"{0:06d}{PARQUET}").with_metadata({NOTES: plan.encode()})
    with pq.ParquetWriter(target, schema, write_page_checksum=True) as writer:
        for number in range(num_parts):
            path = folder / f"{number:06d}{PARQUET}"
            table = pq.read_table(path, page_checksum_verification=True, use_threads=False)
            writer.write_table(table.replace_schema_metadata(schema.metadata), max(table.num_rows, 1))
