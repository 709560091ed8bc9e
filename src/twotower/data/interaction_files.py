"""Long interactions in Parquet files, read in batches and sorted by user on disk.

Three passes: count the ids, write every interaction into the bucket of its user, sort each bucket.
"""

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.data import blocks
from twotower.data.interactions import Interactions
from twotower.data.source_column import SourceColumn, checked_ids
from twotower.data.table_reader import id_kind, is_parquet, plain_values, series, unreadable
from twotower.data.tables import ITEM_ID, TIMESTAMP, USER_ID, Tables
from twotower.data.times import TimestampUnit, checked_times
from twotower.data.vocabulary import Vocabulary

MAX_ROWS_IN_MEMORY = 200_000
MIN_MERGED = 2**20  # counts of ids that are merged at once
TIME_BITS = 32  # times are below 2**32 seconds, and there are fewer rows
Ids = tuple[np.ndarray, NDArray[np.int32]]
"""Distinct ids of a batch, and the position of the id of each row in them."""
RECORD = np.dtype([("key", np.int64), ("item", np.int32)])  # an interaction; the key is user, then time


@dataclass(frozen=True, eq=False)
class InteractionFiles:
    """Parquet files of long interactions, in row order, and the other tables."""

    files: Sequence[Path]
    columns: Mapping[str, str]  # `user_id`, `item_id` and perhaps `timestamp` -> column in the files
    unit: TimestampUnit
    tables: Tables
    num_rows: int

    def count_ids(self) -> dict[str, "pd.Series[Any]"]:
        """Return `user_id` and `item_id` -> the number of rows of each id, by ascending id.

        Batches are merged once the later ones are longer than the first.
        """
        counts: dict[str, list[pd.Series[Any]]] = {USER_ID: [], ITEM_ID: []}
        for batch in self._batches(list(counts), "data: counting users and items"):
            for key, parts in counts.items():
                ids, positions = batch[key]
                parts.append(pd.Series(np.bincount(positions, minlength=len(ids)), index=ids))
                if sum(map(len, parts[1:])) > max(len(parts[0]), MIN_MERGED):
                    parts[:] = [pd.concat(parts).groupby(level=0).sum()]
        return {key: pd.concat(parts).groupby(level=0).sum() for key, parts in counts.items()}

    def sort(
        self, users: Vocabulary, items: Vocabulary, offsets: NDArray[np.int64], folder: Path
    ) -> Interactions:
        """Return the interactions by user, then time, written into a folder; equal times keep row order.

        `offsets` are as in `Interactions`. A bucket holds whole users.
        """
        starts = np.array([0, *(rows.stop for rows in blocks.blocks_of_users(offsets))])
        bucket_of_user = (np.searchsorted(starts, offsets[:-1], side="right") - 1).astype(np.uint16)
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            self._fill_buckets(file, starts[:-1].copy(), bucket_of_user, users, items)
            file.seek(0)
            length = int(offsets[-1])
            sorted_items = blocks.ArrayWriter(np.int32, length, folder / "items.npy")
            sorted_times = blocks.ArrayWriter(np.int64, length, folder / "times.npy")
            with Progress("data: sorting interactions by time", length) as advance:
                for start, end in itertools.pairwise(starts.tolist()):
                    records = np.frombuffer(file.read(RECORD.itemsize * (end - start)), RECORD)
                    records = records.take(np.argsort(records["key"], kind="stable"))
                    sorted_items.append(records["item"])
                    sorted_times.append(records["key"] & (2**TIME_BITS - 1))
                    advance(end)
        return Interactions(offsets, sorted_items.finish(), sorted_times.finish(), num_items=len(items))

    def _fill_buckets(
        self,
        file: IO[bytes],
        ends: NDArray[np.int64],
        bucket_of_user: NDArray[np.uint16],
        users: Vocabulary,
        items: Vocabulary,
    ) -> None:
        """Write every interaction to the end of the bucket of its user, in row order."""
        rows_before = 0
        for batch in self._batches(list(self.columns), "data: sorting interactions by user"):
            user_rows, item_rows = (
                vocabulary.rows(ids)[positions]
                for vocabulary, (ids, positions) in ((users, batch[USER_ID]), (items, batch[ITEM_ID]))
            )
            times = batch.get(TIMESTAMP)
            if times is None:  # row positions replace times
                times = np.arange(rows_before + 1, rows_before + len(user_rows) + 1)
            rows_before += len(user_rows)
            records = np.empty(len(user_rows), RECORD)
            records["key"] = (user_rows.astype(np.int64) << TIME_BITS) | times
            records["item"] = item_rows
            buckets = bucket_of_user[user_rows]
            records = records.take(np.argsort(buckets, kind="stable"))  # radix sort for 16 bits
            counts = np.bincount(buckets, minlength=len(ends))
            for bucket, part in enumerate(np.split(records, np.cumsum(counts)[:-1])):
                if len(part):
                    file.seek(int(ends[bucket]) * RECORD.itemsize)
                    file.write(part.data)
            ends += counts

    def _batches(self, names: Sequence[str], what: str) -> Iterator[dict[str, Any]]:
        """Yield batches of ids (`Ids`) and times (int64 seconds); raises InputError for a wrong row.

        `what` labels the progress line.
        """
        columns = [self.columns[name] for name in names]
        done = 0
        with Progress(what, self.num_rows) as advance:
            for path in self.files:
                try:
                    # Without buffering of whole row groups, which would need the memory of the file.
                    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
                        before = 0
                        for batch in file.iter_batches(blocks.BLOCK_ROWS, columns=columns):
                            yield {name: self._values(path, name, batch, before) for name in names}
                            before += len(batch)
                            done += len(batch)
                            advance(done)
                except (OSError, pa.ArrowException) as error:
                    raise unreadable(path, error) from error

    def _values(self, path: Path, name: str, batch: pa.RecordBatch, before: int) -> Ids | np.ndarray:
        """Return checked ids or times of a batch that `before` rows of the file precede."""
        array = plain_values(pa.chunked_array([batch[self.columns[name]]]))
        column = SourceColumn(
            series(array), str(path), self.columns[name], counted="rows or more", before=before
        )
        if name == TIMESTAMP:
            return checked_times(column, self.unit).to_numpy(dtype=np.int64)
        encoded = pc.dictionary_encode(array.combine_chunks(), null_encoding="encode")
        distinct = series(pa.chunked_array([encoded.dictionary]))
        try:
            ids = checked_ids(replace(column, values=distinct), is_csv=False)
        except InputError:
            ids = checked_ids(column, is_csv=False)  # names the row
        return ids.to_numpy(), encoded.indices.to_numpy()


def rows_to_stream(paths: Sequence[Path], columns: Mapping[str, str]) -> int | None:
    """Return the number of rows of long Parquet files of ids and times, else None: they fit into memory."""
    if set(columns) - {USER_ID, ITEM_ID, TIMESTAMP} or not all(is_parquet(path) for path in paths):
        return None
    num_rows, kinds = 0, set()
    for path in paths:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            num_rows += file.metadata.num_rows
        if not set(columns.values()) <= set(schema.names):  # an index that pandas has saved as a range
            return None
        kinds.add(tuple(id_kind(schema.field(columns[key]).type) for key in (USER_ID, ITEM_ID)))
    is_plain = len(kinds) == 1 and None not in kinds.pop()
    return num_rows if is_plain and num_rows > MAX_ROWS_IN_MEMORY else None
