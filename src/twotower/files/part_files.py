"""Parquet files written in parts: atomic, and a killed process loses at most one part."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.files.atomic import clear_temporaries, write_atomically, write_text_atomically
from twotower.files.lock import lock_folder

PLAN = "plan.json"
NOTES = b"twotower"
"""Metadata key of the plan in the file."""
PARQUET = ".parquet"
RESUMES = "the same command continues with the finished parts"
"""Message after SIGTERM or Ctrl-C."""


@dataclass(frozen=True)
class WrittenFile:
    """Size of a written file; an earlier process has written the reused parts."""

    num_rows: int
    num_parts: int
    num_reused: int

    @property
    def reused_text(self) -> str:
        """Reused parts as text, empty without any."""
        return f" ({self.num_reused} of {self.num_parts} parts reused)" if self.num_reused else ""


def parts_folder(out: Path) -> Path:
    """Return the folder of the parts of an unfinished file."""
    return out.with_name(f".{out.name}.parts")


def check_new(out: Path) -> None:
    """Refuse an existing file or folder."""
    if out.exists():
        raise InputError(f"out={out}: exists, and is never overwritten; move it away, or use another name")


def check_out(out: Path) -> None:
    """Refuse names without `.parquet`, and existing files unless an interrupted process left parts."""
    if out.suffix != PARQUET:
        raise InputError(f"out={out}: expected the name of a Parquet file, such as {out.stem}{PARQUET}")
    if not parts_folder(out).exists():
        check_new(out)


def write_in_parts(
    out: Path, plan: Mapping[str, Any], num_parts: int, make: Callable[[int], pa.Table]
) -> WrittenFile:
    """Write a file in parts, one row group each; the same call continues after an interruption.

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
        sizes, num_reused = [], 0
        if not out.exists():  # else only the folder of the parts is left
            for number in range(num_parts):
                path = folder / f"{number:06d}{PARQUET}"
                size = _num_rows(path)
                num_reused += size is not None
                sizes.append(_write_part(path, make(number)) if size is None else size)
            write_atomically(out, lambda path: _join(folder, num_parts, text, path))
        written = pq.read_metadata(out)
        if sizes and (written.num_rows, written.num_row_groups) != (sum(sizes), num_parts):
            raise RuntimeError(f"{out}: wrote {sum(sizes):,} rows, but the file has {written.num_rows:,}")
    shutil.rmtree(folder)
    return WrittenFile(written.num_rows, num_parts, num_reused if sizes else num_parts)


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


def _num_rows(path: Path) -> int | None:
    """Return the rows of a part; None if it is missing or incomplete."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _write_part(path: Path, table: pa.Table) -> int:
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, write_page_checksum=True))
    return int(table.num_rows)


def _join(folder: Path, num_parts: int, plan: str, target: Path) -> None:
    schema = pq.read_schema(folder / f"{0:06d}{PARQUET}").with_metadata({NOTES: plan.encode()})
    with pq.ParquetWriter(target, schema, write_page_checksum=True) as writer:
        for number in range(num_parts):
            path = folder / f"{number:06d}{PARQUET}"
            table = pq.read_table(path, page_checksum_verification=True, use_threads=False)
            writer.write_table(table.replace_schema_metadata(schema.metadata), max(table.num_rows, 1))
