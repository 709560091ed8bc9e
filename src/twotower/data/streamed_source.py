"""Long interactions sorted by user and time on disk, in bounded memory.

Three passes: count the ids, write every interaction into the bucket of its user, sort each bucket. The sort
is
stable: equal times keep the order of rows.
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
from twotower.data.blocks import Folder, blocks_of_users
from twotower.data.check_tables import checked_without_interactions
from twotower.data.id_counts import IdCounts
from twotower.data.interaction_files import Ids, InteractionFiles
from twotower.data.interactions import Interactions, offsets_of_counts
from twotower.data.loaded_source import LoadedSource, in_row_order, vocabularies
from twotower.data.sources.source import Source
from twotower.data.tables import ENTITIES, ITEM_ID, TIMESTAMP, USER_ID, Needs
from twotower.data.times import warning_of_unsorted_times
from twotower.data.vocabulary import Vocabulary

TIME_BITS = 32  # times are below 2**32 seconds, and there are fewer rows


def stream_source(
    source: Source, files: InteractionFiles, needs: Needs, room: Folder, scratch: Path
) -> LoadedSource:
    """Check a source of long files and sort its interactions on disk; raises InputError with all mistakes.

    Args:
        source: the source of the files.
        files: the interactions.
        needs: of features, see `Needs`.
        room: where the sorted interactions are stored.
        scratch: an existing folder for temporary files.
    """
    config = source.config
    counts = {key: IdCounts(files.num_rows) for key in ENTITIES.values()}
    for batch in files.batches(list(counts), "data: counting users and items"):
        for key, count in counts.items():
            count.add(batch[key])
    found = {key: count.found() for key, count in counts.items()}
    del counts
    ids = {table: found[key][0] for table, key in ENTITIES.items()}
    tables = checked_without_interactions(files.tables, ids, needs, config.meaning(), config.may_lack())
    users, items = vocabularies(tables)
    lengths = np.zeros(len(users) + 1, dtype=np.int64)
    lengths[users.rows(found[USER_ID][0])] = found[USER_ID][1]
    offsets = offsets_of_counts(lengths)
    with _buckets(scratch, offsets) as buckets:
        _fill(buckets, files, users, items)
        interactions = _sorted(buckets, offsets, len(items), room)
    warning = None
    if files.tables.has_times:
        warning = warning_of_unsorted_times(
            files.column(TIMESTAMP),
            interactions.times,
            lambda: (batch[TIMESTAMP] for batch in files.batches([TIMESTAMP], "data: looking at times")),
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
def _buckets(folder: Path, offsets: NDArray[np.int64]) -> Iterator[_Buckets]:
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
    bucket_of = np.repeat(np.arange(len(buckets.starts) - 1, dtype=np.uint16), np.diff(buckets.bounds))
    cursors = buckets.starts[:-1].copy()
    rows_before = 0
    for batch in files.batches(list(files.columns), "data: sorting interactions by user"):
        user_rows, item_rows = _rows(users, batch[USER_ID]), _rows(items, batch[ITEM_ID])
        times = batch.get(TIMESTAMP)
        if times is None:  # row positions replace times
            times = np.arange(rows_before + 1, rows_before + len(user_rows) + 1)
        rows_before += len(user_rows)
        keys = (user_rows.astype(np.int64) << TIME_BITS) | times
        owners = bucket_of[user_rows]
        order = np.argsort(owners, kind="stable")  # radix sort for 16 bits
        keys, item_rows = keys[order], item_rows[order]
        ends = np.cumsum(np.bincount(owners, minlength=len(cursors)))
        for bucket, (start, end) in enumerate(itertools.pairwise([0, *ends.tolist()])):
            if end > start:
                at = int(cursors[bucket])
                _write(buckets.keys, keys[start:end], at)
                _write(buckets.items, item_rows[start:end], at)
                cursors[bucket] += end - start
    if (cursors != buckets.starts[1:]).any():
        raise InputError(
            f"{files.tables.source_path('interactions')}: a file changed while it was read; run again"
        )


def _rows(vocabulary: Vocabulary, ids: Ids) -> NDArray[np.int32]:
    rows = vocabulary.rows(ids.values)
    return rows if ids.codes is None else rows[ids.codes]


def _sorted(buckets: _Buckets, offsets: NDArray[np.int64], num_items: int, room: Folder) -> Interactions:
    """Sort each bucket, stably, and write it into the room."""
    length = int(offsets[-1])
    items = room.array("history_whole", "items", np.int32, length)
    times = room.array("history_whole", "times", np.int64, length)
    with Progress("data: sorting interactions by time", length) as advance:
        for start, end in itertools.pairwise(buckets.starts.tolist()):
            keys, rows = _read(buckets.keys, np.int64, start, end), _read(buckets.items, np.int32, start, end)
            order, keys = _order(keys)
            items.put(rows[order])
            times.put(keys & (2**TIME_BITS - 1))
            advance(end)
    return Interactions(offsets, items.done(), times.done(), num_items=num_items)


def _order(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the stable order of keys, and the sorted keys; sorts keys and positions as one integer."""
    seconds = keys & (2**TIME_BITS - 1)
    first_user, first_time = int(keys.min()) >> TIME_BITS, int(seconds.min())
    time_bits = (int(seconds.max()) - first_time).bit_length()
    user_bits = ((int(keys.max()) >> TIME_BITS) - first_user).bit_length()
    place_bits = len(keys).bit_length()
    if user_bits + time_bits + place_bits > 63:
        order = np.argsort(keys, kind="stable")
        return order, keys[order]
    packed = ((keys >> TIME_BITS) - first_user) << time_bits
    packed |= seconds - first_time
    packed <<= place_bits
    packed |= np.arange(len(keys))
    packed.sort()
    order = packed & (2**place_bits - 1)
    packed >>= place_bits
    found = ((packed >> time_bits) + first_user) << TIME_BITS
    found |= (packed & (2**time_bits - 1)) + first_time
    return order, found


def _write(file: int, values: np.ndarray, at: int) -> None:
    left, place = values.data.cast("B"), at * values.itemsize
    while len(left):
        written = os.pwrite(file, left, place)
        left, place = left[written:], place + written


def _read(file: int, kind: type[np.generic], start: int, end: int) -> np.ndarray:
    values = np.empty(end - start, dtype=kind)
    left, place = values.data.cast("B"), start * values.itemsize
    while len(left):
        number = os.preadv(file, [left], place)
        assert number, "a bucket is shorter than it was"
        left, place = left[number:], place + number
    return values
