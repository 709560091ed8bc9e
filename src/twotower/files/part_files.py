"""A Parquet file made part by part: whole or not there, and a killed process loses one part at most."""

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
from twotower.files.lock import held

PLAN = "plan.json"
NOTES = b"twotower"
"""Under which the file keeps its plan."""
PARQUET = ".parquet"
GOES_ON = "the same command goes on with what was made"
"""What to say where SIGTERM or Ctrl-C stops it."""

MakePart = Callable[[int], pa.Table]


@dataclass(frozen=True)
class Written:
    """What a file holds, and how many of its parts an earlier process had made."""

    num_rows: int
    num_parts: int
    num_found: int

    @property
    def again(self) -> str:
        """Words for people on what was there before, if anything was."""
        return f" ({self.num_found} of {self.num_parts} parts were there)" if self.num_found else ""


def parts_folder(out: Path) -> Path:
    """Return where the parts of a file lie until it is whole."""
    return out.with_name(f".{out.name}.parts")


def check_new(out: Path) -> None:
    """Refuse to write what is there, a file or a folder."""
    if out.exists():
        raise InputError(f"out={out}: already there, and never overwritten; move it away, or name another")


def check_out(out: Path) -> None:
    """Refuse to make a file of another kind, or one that is there, but where its making was broken off."""
    if out.suffix != PARQUET:
        raise InputError(f"out={out}: expected the name of a Parquet file, such as {out.stem}{PARQUET}")
    if not parts_folder(out).exists():
        check_new(out)


def write_in_parts(out: Path, plan: Mapping[str, Any], num_parts: int, make: MakePart) -> Written:
    """Make a file from its parts, a row group each; the same call goes on with what a killed one had made.

    Memory holds one part at a time. The content depends on nothing but `plan`, so a file whose making was
    broken off is, byte for byte, the one that would have been.

    Args:
        out: the file, which must not be there.
        plan: plain values, all that the content depends on; the file keeps them among its metadata.
        num_parts: how many, 1 or more.
        make: called with 0, 1, ...; all parts have the same columns.

    Raises:
        InputError: the file is there, another process makes it, or the parts there are of another plan.
    """
    check_out(out)
    folder = parts_folder(out)
    text = json.dumps(plan, sort_keys=True)
    with held(folder, "file"):
        _check_plan(folder / PLAN, text, out)
        clear_temporaries(folder)
        sizes, num_found = [], 0
        if not out.exists():  # else only the folder of the parts was left
            for number in range(num_parts):
                path = folder / f"{number:06d}{PARQUET}"
                size = _num_rows(path)
                num_found += size is not None
                sizes.append(_write_part(path, make(number)) if size is None else size)
            write_atomically(out, lambda path: _join(folder, num_parts, text, path))
        written = pq.read_metadata(out)
        if sizes and (written.num_rows, written.num_row_groups) != (sum(sizes), num_parts):
            raise RuntimeError(
                f"{out}: {sum(sizes):,} rows were made, and {written.num_rows:,} are in the file"
            )
    shutil.rmtree(folder)
    return Written(written.num_rows, num_parts, num_found if sizes else num_parts)


def _check_plan(path: Path, text: str, out: Path) -> None:
    if not path.exists():
        check_new(out)
    if not out.exists() and not any(path.parent.glob(f"*{PARQUET}")):
        write_text_atomically(path, text)
    if path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"out={out}: what lies in {path.parent} was made by another command, or of another bundle; give "
            "that command again to go on with it, or delete that folder to begin anew"
        )


def _num_rows(path: Path) -> int | None:
    """Return how many rows a part has, None where it is not there or not whole."""
    try:
        with pq.ParquetFile(path) as file:
            num_rows: int = file.metadata.num_rows
            return num_rows
    except (OSError, pa.ArrowException):
        return None


def _write_part(path: Path, table: pa.Table) -> int:
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, write_page_checksum=True))
    num_rows: int = table.num_rows
    return num_rows


def _join(folder: Path, num_parts: int, plan: str, target: Path) -> None:
    schema = pq.read_schema(folder / f"{0:06d}{PARQUET}").with_metadata({NOTES: plan.encode()})
    with pq.ParquetWriter(target, schema, write_page_checksum=True) as writer:
        for number in range(num_parts):
            path = folder / f"{number:06d}{PARQUET}"
            table = pq.read_table(path, page_checksum_verification=True, use_threads=False)
            writer.write_table(table.replace_schema_metadata(schema.metadata), max(table.num_rows, 1))
