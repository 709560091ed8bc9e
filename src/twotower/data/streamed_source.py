"""Long interactions sorted by user and time on disk, in bounded memory.

Three passes: count the ids, write every interaction into the bucket of its user, sort each bucket. The sort
is stable: equal times keep the order of rows.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.data.blocks import ArrayWriter, blocks_of_users
from twotower.data.check_tables import check_tables
from twotower.data.id_counts import IdCounts
from twotower.data.interaction_files import IdBatch, InteractionFiles
from twotower.data.interactions import Interactions, offsets_from_counts
from twotower.data.loaded_source import LoadedSource, in_row_order, vocabularies
from twotower.data.sources.source import Source
from twotower.data.tables import ENTITIES, ITEM_ID, TIMESTAMP, USER_ID, Needs
from twotower.data.times import time_warning
from twotower.data.vocabulary import Vocabulary

TIME_BITS = 32  # times are below 2**32 seconds, and there are fewer rows


def stream_source(
    source: Source, files: InteractionFiles, needs: Needs | None, folder: Path, scratch: Path
) -> LoadedSource:
    """Check a source of long files and sort its interactions on disk; raises InputError with all mistakes.

    Args:
        source: the source of the files.
        files: the interactions.
        needs: reports missing feature columns and wrong values.
        folder: where the sorted interactions are written.
        scratch: an existing folder for temporary files.
    """
    config = source.config
    counts = {key: IdCounts(files.num_rows) for key in ENTITIES.values()}
    for batch in files.batches(list(counts), "data: counting users and items"):
        for key, count in counts.items():
            count.add(batch[key])
    totals = {key: count.totals() for key, count in counts.items()}
    del counts
    ids = {table: totals[key][0] for table, key in ENTITIES.items()}
    tables = check_tables(files.tables, needs, config.action_settings(), config.may_lack(), ids)
    users, items = vocabularies(tables)
    lengths = np.zeros(len(users) + 1, dtype=np.int64)
    lengths[users.rows(totals[USER_ID][0])] = totals[USER_ID][1]
    offsets = offsets_from_counts(lengths)
    with _create_buckets(scratch, offsets) as buckets:
        _fill(buckets, files, users, items)
        interactions = _sort(buckets, offsets, len(items), folder / "history_whole")
    warning = None
    if files.tables.has_times:
        warning = time_warning(
            files.column(TIMESTAMP),
            interactions.times,
            lambda: (batch[TIMESTAMP] for batch in files.batches([TIMESTAMP], "data: checking times")),
        )
    return LoadedSource(files.tables, in_row_order(tables, users, items), interactions, None, warning)


@dataclass(frozen=True, eq=False)
class _Buckets:
    """Buckets of whole users, in one file of keys (user and time) and one of items.

    `bounds` [number + 1] are the first users, `starts` [number + 1] the positions of the first rows.
    """

    keys: int
    items: int
    bounds: NDArray[np.int64]
    starts: NDArray[np.int64]


@contextmanager
def _create_buckets(folder: Path, offsets: NDArray[np.int64]) -> Iterator[_Buckets]:
    spans = list(blocks_of_users(offsets))
    starts = np.array([0, *(rows.stop for rows in spans)], dtype=np.int64)
    bounds = np.searchsorted(offsets, starts, side="right") - 1
    bounds[0], bounds[-1] = 0, len(offsets) - 1
    with ExitStack() as stack:
        files = []
        for name in ("keys", "bucket_items"):
            path = folder / name
            files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            stack.callback(path.unlink)
            stack.callback(os.close, files[-1])
        yield _Buckets(files[0], files[1], bounds, starts)


def _fill(buckets: _Buckets, files: InteractionFiles, users: Vocabulary, items: Vocabulary) -> None:
    """Write every interaction into the bucket of its user, in row order."""
    bucket_of_user = np.repeat(np.arange(len(buckets.starts) - 1, dtype=np.uint16), np.diff(buckets.bounds))
    cursors = buckets.starts[:-1].copy()
    rows_before = 0
    for batch in files.batches(list(files.columns), "data: sorting interactions by user"):
        user_rows, item_rows = _rows(users, batch[USER_ID]), _rows(items, batch[ITEM_ID])
        times = batch.get(TIMESTAMP)
        if times is None:  # row positions replace times
            times = np.arange(rows_before + 1, rows_before + len(user_rows) + 1)
        rows_before += len(user_rows)
        keys = (user_rows.astype(np.int64) << TIME_BITS) | times
        numbers = bucket_of_user[user_rows]
        order = np.argsort(numbers, kind="stable")  # radix sort for 16 bits
        keys, item_rows = keys[order], item_rows[order]
        ends = np.cumsum(np.bincount(numbers, minlength=len(cursors)))
        for bucket, (start, end) in enumerate(itertools.pairwise([0, *ends.tolist()])):
            if end > start:
                cursor = int(cursors[bucket])
                _write(buckets.keys, keys[start:end], cursor)
                _write(buckets.items, item_rows[start:end], cursor)
                cursors[bucket] += end - start
    if (cursors != buckets.starts[1:]).any():
        raise InputError(
            f"{files.tables.source_path('interactions')}: a file changed while it was read; run again"
        )


def _rows(vocabulary: Vocabulary, ids: IdBatch) -> NDArray[np.int32]:
    rows = vocabulary.rows(ids.values)
    return rows if ids.codes is None else rows[ids.codes]


def _sort(buckets: _Buckets, offsets: NDArray[np.int64], num_items: int, folder: Path) -> Interactions:
    """Sort each bucket, stably, and write it into a folder."""
    length = int(offsets[-1])
    items = ArrayWriter(np.int32, length, folder / "items.npy")
    times = ArrayWriter(np.int64, length, folder / "times.npy")
    with Progress("data: sorting interactions by time", length) as advance:
        for start, end in itertools.pairwise(buckets.starts.tolist()):
            keys, rows = _read(buckets.keys, np.int64, start, end), _read(buckets.items, np.int32, start, end)
            order, keys = _sorted_keys(keys)
            items.append(rows[order])
            times.append(keys & (2**TIME_BITS - 1))
            advance(end)
    return Interactions(offsets, items.finish(), times.finish(), num_items=num_items)


def _sorted_keys(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stable order of keys, and the sorted keys; sorts keys and positions as one integer."""
    seconds = keys & (2**TIME_BITS - 1)
    first_user, first_time = int(keys.min()) >> TIME_BITS, int(seconds.min())
    time_bits = (int(seconds.max()) - first_time).bit_length()
    user_bits = ((int(keys.max()) >> TIME_BITS) - first_user).bit_length()
    position_bits = len(keys).bit_length()
    if user_bits + time_bits + position_bits > 63:
        order = np.argsort(keys, kind="stable")
        return order, keys[order]
    packed = ((keys >> TIME_BITS) - first_user) << time_bits
    packed |= seconds - first_time
    packed <<= position_bits
    packed |= np.arange(len(keys))
    packed.sort()
    order = packed & (2**position_bits - 1)
    packed >>= position_bits
    sorted_keys = ((packed >> time_bits) + first_user) << TIME_BITS
    sorted_keys |= (packed & (2**time_bits - 1)) + first_time
    return order, sorted_keys


def _write(file: int, values: np.ndarray, start: int) -> None:
    left, offset = values.data.cast("B"), start * values.itemsize
    while len(left):
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _read(file: int, kind: type[np.generic], start: int, end: int) -> np.ndarray:
    values = np.empty(end - start, dtype=kind)
    left, offset = values.data.cast("B"), start * values.itemsize
    while len(left):
        number = os.preadv(file, [left], offset)
        assert number, "a bucket is shorter than expected"
        left, offset = left[number:], offset + number
    return values
