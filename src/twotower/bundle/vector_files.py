"""Read the files of `twotower embed`: one whole file, or the parts of all shards."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twotower.bundle.embed import Floats
from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.files.part_files import NOTES
from twotower.files.shards import all_parts

NAMES = {"bundle": "run (SHA-256 of its bundle)"}
"""Name of a value of the metadata in errors."""


@dataclass(frozen=True)
class VectorFiles:
    """Ids and vectors of all items or users of one bundle.

    Attributes:
        commands: file -> command that writes it, in the order of the rows.
        bundle: SHA-256 of the manifest of the bundle.
        id_field: name and type of the ids.
        dim: D, the dimension of a vector.
    """

    commands: dict[Path, str]
    bundle: str
    id_field: pa.Field
    num_rows: int
    dim: int

    @classmethod
    def open(cls, key: str, path: Path, side: str) -> "VectorFiles":
        """Check the metadata of all files; no vector is read.

        Args:
            key: setting that names the file or folder.
            path: a whole file, or the folder of the parts.
            side: users or items.

        Raises:
            InputError: a part is missing, a file is not of this side, or two are not of one run and command.
        """
        command = f"twotower embed run=RUN side={side} {shlex.quote(f'out={path}')}"
        if not path.exists():
            raise InputError(f"{key}={path}: there is no such file or folder; type: {command}")
        shards = all_parts(key, path, command) if path.is_dir() else {path: None}
        first: dict[str, Any] = {}
        commands, num_rows, schema = {}, 0, pa.schema([])
        for file, shard in shards.items():
            commands[file] = f"{command} shard={shard}" if shard else command
            with _naming(file, commands[file]):
                with pq.ParquetFile(file) as opened:
                    schema, num_rows = opened.schema_arrow, num_rows + opened.metadata.num_rows
                notes = json.loads((schema.metadata or {}).get(NOTES, b"{}"))
            if notes.get("side") != side:
                raise InputError(
                    f"{key}={path}: {file.name} has no vectors of {side}; expected the output of: "
                    f"twotower embed run=RUN side={side} out=NAME; for vectors of other programs: "
                    "twotower index_lab vectors=FILE save=true"
                )
            notes["columns"] = ", ".join(f"{field.name} {field.type}" for field in schema)
            first = first or notes
            if shard is None and notes.get("shard"):
                raise InputError(f"{key}={file}: is part {notes['shard']}; name the folder of all parts")
            expected = dict.fromkeys(notes) | first | {"shard": str(shard) if shard else None}
            for note, wanted in sorted(expected.items()):
                if (found := notes.get(note)) != wanted:
                    raise InputError(
                        f"{file}: its {NAMES.get(note, note)} is {found!s:.100}, expected {wanted!s:.100}; "
                        f"move it away, and type: {commands[file]}"
                    )
        return cls(commands, first["bundle"], schema.field(0), num_rows, schema.field(1).type.list_size)

    def blocks(self) -> Iterator[tuple[pa.Array, Floats]]:
        """Yield ids [n] and vectors [n, D] of each row group, in order.

        Raises:
            InputError: a file is damaged, or ids do not ascend, as those that `twotower embed` writes do.
        """
        last = pa.array([], self.id_field.type)
        for path, command in self.commands.items():
            with _naming(path, command), pq.ParquetFile(path, page_checksum_verification=True) as file:
                for number in range(file.num_row_groups):
                    ids, values = file.read_row_group(number, use_threads=False).columns
                    ids, values = ids.combine_chunks(), values.combine_chunks()
                    joined = pa.concat_arrays([last, ids])
                    place = pc.index(pc.less(joined[:-1], joined[1:]), False).as_py()
                    if place >= 0:
                        raise InputError(
                            f"{path}: {self.id_field.name} {joined[place + 1]} follows {joined[place]}; "
                            f"expected each id once, in ascending order; move it away, and type: {command}"
                        )
                    last = ids[-1:]
                    yield ids, values.flatten().to_numpy().reshape(len(ids), self.dim)

    def at(self, positions: NDArray[np.int64]) -> Floats:
        """Return the vectors [n, D] at ascending positions; reads one row group after another."""
        first, found = 0, []
        for ids, block in self.blocks():
            start, stop = np.searchsorted(positions, [first, first + len(ids)])
            found.append(block[positions[start:stop] - first])
            first += len(ids)
        return np.concatenate(found)

    def copy_to(self, file: IO[bytes], writer: pq.ParquetWriter) -> None:
        """Copy vectors into a file [N, D] without a header, and the ids into a Parquet file."""
        num_read = 0
        with Progress("index: reading vectors", self.num_rows) as advance:
            for ids, block in self.blocks():
                file.write(block.tobytes())
                writer.write_table(pa.table([ids], schema=writer.schema))
                num_read += len(ids)
                advance(num_read)
        file.flush()


@contextmanager
def _naming(path: Path, command: str) -> Iterator[None]:
    """Convert an error of a reader into an `InputError` that names the file and the command."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not readable ({reason:.200}); move it away, and type: {command}"
        ) from error
