"""Long interactions in parts, which several machines read, check and sort by user, each its share of rows.

A part has its own users and items. Merging it with others reads it once, from start to end.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data import blocks
from twotower.data.interaction_files import RECORD, TIME_BITS, InteractionFiles, sum_counts, write_sorted
from twotower.data.interactions import Interactions, offsets_from_counts
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, USER_ID, Tables
from twotower.data.vocabulary import Vocabulary
from twotower.files.atomic import file_sha256
from twotower.files.code import code_fingerprint
from twotower.files.part_files import new_folder
from twotower.files.shards import Shard, all_parts, check_facts

FACTS = "part.json"
NAMES = {"data": "data (content, and keys of data)", "code": "version of twotower", "shard": "shard"}
"""Name of a fact in errors."""


def part_facts(source: Source, content: str, shard: Shard) -> dict[str, str]:
    """Return what determines a part; `content` is the fingerprint of the source."""
    code = code_fingerprint([type(source).__module__, __name__])
    return {"data": content, "code": code, "shard": str(shard)}


def write_part(files: InteractionFiles, facts: Mapping[str, str], out: Path) -> None:
    """Read, check and sort interactions into a new folder: one that has its name is complete.

    Raises:
        InputError: a row is wrong, or the folder exists.
    """
    with new_folder(out) as folder:
        counts = files.count_ids()
        users, items = (Vocabulary(counts[key].index.to_numpy()) for key in (USER_ID, ITEM_ID))
        offsets = offsets_from_counts(np.append(0, counts[USER_ID].to_numpy()))
        files.sort(users, items, offsets, folder / "sorted")
        for key, each in counts.items():
            table = pd.DataFrame({key: each.index, "rows": each.to_numpy()})
            table.to_parquet(folder / f"{key}.parquet", index=False)
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
        digests = {name: file_sha256(folder / name) for name in names}
        (folder / FACTS).write_text(json.dumps({"facts": facts, "files": digests}, indent=1))


class _OpenPart(NamedTuple):
    """A part in terms of the whole; all arrays are memory-mapped."""

    users: NDArray[np.int32]  # ascending user rows
    offsets: NDArray[np.int64]  # of these users: [users + 1]
    items: NDArray[np.int32]  # item row of each own item, 0 first
    own_items: NDArray[np.int32]
    times: NDArray[np.int64]

    def records(self, first: int, stop: int) -> np.ndarray:
        """Return the records of the user rows from `first` to before `stop`."""
        begin, end = np.searchsorted(self.users, (first, stop))
        rows = slice(self.offsets[begin], self.offsets[end])
        users = np.repeat(self.users[begin:end].astype(np.int64), np.diff(self.offsets[begin : end + 1]))
        records = np.empty(len(users), RECORD)
        records["key"] = (users << TIME_BITS) | self.times[rows]
        records["item"] = self.items[self.own_items[rows]]
        return records


@dataclass(frozen=True, eq=False)
class InteractionParts:
    """All parts of long interactions in row order, and the other tables; see `InteractionFiles`."""

    folders: Sequence[Path]
    tables: Tables

    @classmethod
    def open(
        cls, source: Source, content: str, folder: Path, command: str, tables: Tables
    ) -> "InteractionParts":
        """Check all parts.

        Args:
            content: fingerprint of the source.
            command: writes a part, with `shard=k/n` at its end.
            tables: without interactions.

        Raises:
            InputError: a part is missing, damaged, or not of this data and code.
        """
        parts = all_parts("parts", folder, command, suffix="")
        for path, shard in parts.items():
            remedy = f"move it away, and type: {command} shard={shard}"
            try:
                stored = json.loads((path / FACTS).read_text())
                facts, digests = stored["facts"], stored["files"]
                damaged = [name for name in digests if file_sha256(path / name) != digests[name]]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: not readable ({error!s:.200}); {remedy}") from error
            if damaged:
                raise InputError(f"{path}: {damaged[0]} is damaged; {remedy}")
            check_facts(path, facts, part_facts(source, content, shard), f"{command} shard={shard}", NAMES)
        return cls([*parts], tables)

    def count_ids(self) -> dict[str, "pd.Series[Any]"]:
        """Return `user_id` and `item_id` -> the number of rows of each id, by ascending id."""
        keys = (USER_ID, ITEM_ID)
        return sum_counts({key: _read_counts(folder, key) for key in keys} for folder in self.folders)

    def sort(
        self, users: Vocabulary, items: Vocabulary, offsets: NDArray[np.int64], folder: Path
    ) -> Interactions:
        """Return the interactions by user, then time, written into a folder; see `InteractionFiles.sort`."""
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            parts = [_open(part, users, items, Path(temporary) / part.name) for part in self.folders]
            return write_sorted(_merged(parts, offsets), offsets, len(items), folder)


def _merged(parts: Sequence[_OpenPart], offsets: NDArray[np.int64]) -> Iterator[np.ndarray]:
    """Yield the records of whole users, those of a part after those of the parts before it."""
    mapped = [array for part in parts for array in part]
    for rows in blocks.blocks_of_users(offsets, *mapped):
        first = int(np.searchsorted(offsets, rows.start, side="right")) - 1
        stop = int(np.searchsorted(offsets, rows.stop))
        yield np.concatenate([part.records(first, stop) for part in parts])


def _open(folder: Path, users: Vocabulary, items: Vocabulary, temporary: Path) -> _OpenPart:
    """Open a part; its users and items are written as rows of the whole into a temporary folder."""
    counts, own_items = _read_counts(folder, USER_ID), _read_counts(folder, ITEM_ID).index
    temporary.mkdir()
    arrays = {
        "users": users.rows(counts.index.to_numpy()),
        "offsets": np.append(0, np.cumsum(counts.to_numpy(np.int64))),
        "items": np.append(0, items.rows(own_items.to_numpy())).astype(np.int32),
    }
    for name, array in arrays.items():
        np.save(temporary / f"{name}.npy", array)
    return _OpenPart(
        *(blocks.map_array(temporary / f"{name}.npy") for name in arrays),
        *(blocks.map_array(folder / "sorted" / f"{name}.npy") for name in ("items", "times")),
    )


def _read_counts(folder: Path, key: str) -> "pd.Series[Any]":
    table = pd.read_parquet(folder / f"{key}.parquet")
    return pd.Series(table["rows"].to_numpy(), index=pd.Index(table[key]))
