"""Long interactions in Parquet files, read in batches of ids and times."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.data import blocks
from twotower.data.source_column import SourceColumn, checked_ids
from twotower.data.table_reader import id_kind, is_parquet, plain_values, series, unreadable
from twotower.data.tables import ITEM_ID, TIMESTAMP, USER_ID, Tables
from twotower.data.times import TimestampUnit, checked_times

MAX_ROWS_IN_MEMORY = 200_000


@dataclass(frozen=True, eq=False)
class IdBatch:
    """Ids of a batch, int64; or distinct texts, and the position of each row's text in them (`codes`)."""

    values: np.ndarray
    codes: NDArray[np.int32] | None = None


@dataclass(frozen=True, eq=False)
class InteractionFiles:
    """Parquet files of long interactions, in row order, and the other tables."""

    files: Sequence[Path]
    columns: Mapping[str, str]  # `user_id`, `item_id` and perhaps `timestamp` -> column in the files
    unit: TimestampUnit
    tables: Tables
    num_rows: int

    def batches(self, names: Sequence[str], what: str) -> Iterator[dict[str, Any]]:
        """Yield batches of ids (`IdBatch`) and times (int64 seconds); raises InputError for a wrong row.

        `what` labels the progress line.
        """
        columns = [self.columns[name] for name in names]
        done = 0
        with Progress(what, self.num_rows) as advance:
            for path in self.files:
                before = 0
                try:
                    # Without buffering of whole row groups, which would need the memory of the file.
                    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
                        for batch in file.iter_batches(blocks.BLOCK_ROWS, columns=columns):
                            yield {name: self._values(path, name, batch, before) for name in names}
                            before += len(batch)
                            done += len(batch)
                            advance(done)
                except (OSError, pa.ArrowException) as error:
                    raise unreadable(path, error) from error

    def _values(self, path: Path, name: str, batch: pa.RecordBatch, before: int) -> IdBatch | np.ndarray:
        """Return checked ids or times of a batch that `before` rows of the file precede."""
        array = plain_values(pa.chunked_array([batch[self.columns[name]]]))
        values = series(array)
        column = SourceColumn(values, str(path), self.columns[name], counted="rows or more", before=before)
        if name == TIMESTAMP:
            return checked_times(column, self.unit).to_numpy(dtype=np.int64)
        if id_kind(array.type) == "whole numbers":
            return IdBatch(checked_ids(column, is_csv=False).to_numpy())
        encoded = pc.dictionary_encode(array.combine_chunks(), null_encoding="encode")
        distinct = encoded.dictionary.to_pandas()
        try:
            checked_ids(replace(column, values=distinct), is_csv=False)
        except InputError:
            checked_ids(column, is_csv=False)  # names the row
        return IdBatch(distinct.to_numpy(dtype=object), encoded.indices.to_numpy())


def rows_to_stream(paths: Sequence[Path], columns: Mapping[str, str]) -> list[int] | None:
    """Return the rows of each file, if they are long Parquet files of ids and times to read in batches."""
    if set(columns) - {USER_ID, ITEM_ID, TIMESTAMP} or not all(is_parquet(path) for path in paths):
        return None
    rows, kinds = [], set()
    for path in paths:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            rows.append(file.metadata.num_rows)
        if not set(columns.values()) <= set(schema.names):  # an index that pandas has saved as a range
            return None
        kinds.add(tuple(id_kind(schema.field(columns[key]).type) for key in (USER_ID, ITEM_ID)))
    is_plain = len(kinds) == 1 and None not in kinds.pop()
    return rows if is_plain and sum(rows) > MAX_ROWS_IN_MEMORY else None
