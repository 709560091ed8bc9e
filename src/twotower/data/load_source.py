"""A source as checked tables and interactions of integer rows, in memory or, if it is long, sorted on disk.

Sorting on disk has three passes: count the ids, write every interaction into the bucket of its user, sort
each bucket. Sorting is stable: equal times keep the order of rows.
"""

import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.progress import Progress
from twotower.data.actions import distinct_contexts
from twotower.data.blocks import ArrayWriter, blocks_of_users
from twotower.data.check_tables import check_tables
from twotower.data.interaction_files import IdBatch, InteractionFiles
from twotower.data.interactions import Interactions, offsets_from_counts
from twotower.data.sources.source import Source
from twotower.data.tables import ENTITIES, ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, USER_ID, Needs, Tables
from twotower.data.vocabulary import Vocabulary

TIME_BITS = 32  # times are below 2**32 seconds, and there are fewer rows
MIN_MERGED = 2**20  # counts of ids that are merged at once


@dataclass(frozen=True, eq=False)
class LoadedSource:
    """The content of a source."""

    given: Tables  # as the source returns them, without interactions
    tables: Tables  # checked, without interactions; vocabulary row r is at position r - 1
    interactions: Interactions
    contexts: pd.DataFrame | None = None  # see `RetrievalDataset.context_table`
    folder: Path | None = None  # where long interactions are sorted and split; None: in memory


def load_source(source: Source, needs: Needs | None, folder: Path) -> LoadedSource:
    """Load and check a source, sort long interactions in `folder`; raises InputError with all mistakes."""
    if (files := source.interaction_files()) is not None:
        return _stream_source(source, files, needs, folder)
    given = source.load()
    tables = check_tables(given, needs, source.config)
    users, items = _vocabularies(tables)
    contexts, context_rows = distinct_contexts(tables.interactions, list(tables.context)) or (None, None)
    interactions = build_interactions(tables, users, items, context_rows)
    given = replace(given, interactions=pd.DataFrame())  # the largest part of the memory
    return LoadedSource(given, _in_row_order(tables, users, items), interactions, contexts)


def _stream_source(
    source: Source, files: InteractionFiles, needs: Needs | None, folder: Path
) -> LoadedSource:
    counts = _count_ids(files)
    ids = {table: counts[key].index.to_numpy() for table, key in ENTITIES.items()}
    tables = check_tables(files.tables, needs, source.config, ids)
    users, items = _vocabularies(tables)
    lengths = np.zeros(len(users) + 1, dtype=np.int64)
    lengths[users.rows(ids["users"])] = counts[USER_ID].to_numpy()
    with tempfile.TemporaryFile(dir=folder) as keys, tempfile.TemporaryFile(dir=folder) as item_rows:
        buckets = _Buckets(keys, item_rows, offsets_from_counts(lengths))
        buckets.fill(files, users, items)
        interactions = buckets.sort(len(items), folder / "history_whole")
    return LoadedSource(files.tables, _in_row_order(tables, users, items), interactions, folder=folder)


def _vocabularies(tables: Tables) -> tuple[Vocabulary, Vocabulary]:
    return Vocabulary.fit(tables.users[USER_ID]), Vocabulary.fit(tables.items[ITEM_ID])


def _in_row_order(tables: Tables, users: Vocabulary, items: Vocabulary) -> Tables:
    """Return tables with users and items in the order of their rows, without interactions."""
    user_table, item_table = (
        table.iloc[np.argsort(vocabulary.rows(table[key]))].reset_index(drop=True)
        for table, key, vocabulary in ((tables.users, USER_ID, users), (tables.items, ITEM_ID, items))
    )
    return replace(tables, interactions=pd.DataFrame(), users=user_table, items=item_table)


def build_interactions(
    tables: Tables, users: Vocabulary, items: Vocabulary, context: NDArray[np.int32] | None = None
) -> Interactions:
    """Return the interactions of checked tables in stable order; `context`: int32 [n], rows of contexts."""
    frame, actions = tables.interactions, tables.actions
    user_rows, item_rows = users.rows(frame[USER_ID]), items.rows(frame[ITEM_ID])
    times = frame[TIMESTAMP].to_numpy(dtype=np.int64)
    order = np.lexsort((times, user_rows))  # lexsort is stable: equal times keep the row order of the source
    given = None
    if SPLIT in frame.columns:
        names = frame[SPLIT].to_numpy(dtype=object)
        given = np.select([names == name for name in SPLIT_NAMES], range(len(SPLIT_NAMES))).astype(np.int8)
    columns: dict[str, Any] = {
        "given": given,
        "roles": actions.roles,
        "weights": actions.weights,
        "events": actions.codes,
        "context": context,
    }
    columns = {name: None if column is None else column[order] for name, column in columns.items()}
    return Interactions.from_rows(
        user_rows[order], item_rows[order], times[order], len(users), num_items=len(items), **columns
    )


def _count_ids(files: InteractionFiles) -> dict[str, "pd.Series[Any]"]:
    """Return `user_id` and `item_id` -> the number of rows of each id, by ascending id."""
    counts: dict[str, list[pd.Series[Any]]] = {USER_ID: [], ITEM_ID: []}
    for batch in files.batches(list(counts), "data: counting users and items"):
        for key, parts in counts.items():
            ids: IdBatch = batch[key]
            if ids.codes is None:
                values, numbers = np.unique(ids.values, return_counts=True)
            else:
                values, numbers = ids.values, np.bincount(ids.codes, minlength=len(ids.values))
            parts.append(pd.Series(numbers, index=pd.Index(values)))
            if sum(map(len, parts[1:])) > max(len(parts[0]), MIN_MERGED):
                parts[:] = [_merged(parts)]
    return {key: _merged(parts) for key, parts in counts.items()}


def _merged(parts: list["pd.Series[Any]"]) -> "pd.Series[Any]":
    counts: pd.Series[Any] = pd.concat(parts).groupby(level=0).sum()
    return counts


class _Buckets:
    """Buckets of whole users, in a file of int64 keys (user and time) and one of int32 item rows."""

    def __init__(self, keys: IO[bytes], items: IO[bytes], offsets: NDArray[np.int64]) -> None:
        self.keys, self.items, self.offsets = keys, items, offsets
        starts = [0, *(rows.stop for rows in blocks_of_users(offsets))]
        self.starts = np.array(starts, dtype=np.int64)  # position of the first row of each bucket
        bounds = np.searchsorted(offsets, self.starts, side="right") - 1  # first user of each bucket
        bounds[0], bounds[-1] = 0, len(offsets) - 1
        self.of_user = np.repeat(np.arange(len(starts) - 1, dtype=np.uint16), np.diff(bounds))

    def fill(self, files: InteractionFiles, users: Vocabulary, items: Vocabulary) -> None:
        """Write every interaction into the bucket of its user, in row order."""
        ends = self.starts[:-1].copy()  # of the rows that are written
        rows_before = 0
        for batch in files.batches(list(files.columns), "data: sorting interactions by user"):
            user_rows, item_rows = _rows(users, batch[USER_ID]), _rows(items, batch[ITEM_ID])
            times = batch.get(TIMESTAMP)
            if times is None:  # row positions replace times
                times = np.arange(rows_before + 1, rows_before + len(user_rows) + 1)
            rows_before += len(user_rows)
            keys = (user_rows.astype(np.int64) << TIME_BITS) | times
            numbers = self.of_user[user_rows]
            order = np.argsort(numbers, kind="stable")  # radix sort for 16 bits
            stops = np.cumsum(np.bincount(numbers, minlength=len(ends))).tolist()
            for bucket, (start, stop) in enumerate(itertools.pairwise([0, *stops])):
                if stop > start:
                    for file, values in ((self.keys, keys), (self.items, item_rows)):
                        file.seek(int(ends[bucket]) * values.itemsize)
                        file.write(values[order[start:stop]].data)
                    ends[bucket] += stop - start

    def sort(self, num_items: int, folder: Path) -> Interactions:
        """Sort each bucket, stably, and write it into a folder."""
        self.keys.seek(0)
        self.items.seek(0)
        length = int(self.offsets[-1])
        items = ArrayWriter(np.int32, length, folder / "items.npy")
        times = ArrayWriter(np.int64, length, folder / "times.npy")
        with Progress("data: sorting interactions by time", length) as advance:
            for start, end in itertools.pairwise(self.starts.tolist()):
                keys = np.frombuffer(self.keys.read(8 * (end - start)), dtype=np.int64)
                rows = np.frombuffer(self.items.read(4 * (end - start)), dtype=np.int32)
                order = np.argsort(keys, kind="stable")
                items.append(rows[order])
                times.append(keys[order] & (2**TIME_BITS - 1))
                advance(end)
        return Interactions(self.offsets, items.finish(), times.finish(), num_items=num_items)


def _rows(vocabulary: Vocabulary, ids: IdBatch) -> NDArray[np.int32]:
    rows = vocabulary.rows(ids.values)
    return rows if ids.codes is None else rows[ids.codes]
