"""Long interactions in Parquet files, read in batches of ids and times."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.data import blocks
from twotower.data.source_column import SourceColumn, checked_ids
from twotower.data.table_paths import TablePath, open_parquet
from twotower.data.table_reader import is_parquet, series, unreadable
from twotower.data.tables import ITEM_ID, TIMESTAMP, USER_ID, Tables
from twotower.data.times import TimestampUnit, checked_times

MAX_ROWS_IN_MEMORY = 200_000


@dataclass(frozen=True, eq=False)
class IdBatch:
    """Distinct ids of a batch (`values`, int64 or texts) and the position of each row's id in them (`codes`).

    If `codes` is None, `values` holds the id of each row.
    """

    values: np.ndarray
    codes: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.values if self.codes is None else self.codes)


@dataclass(frozen=True, eq=False)
class InteractionFiles:
    """The files of long interactions.

    Args:
        files: Parquet files in row order.
        columns: `user_id`, `item_id` and perhaps `timestamp` -> column in the files.
        unit: unit of the times.
        tables: the other tables.
        num_rows: rows of all files.
    """

    files: Sequence[TablePath]
    columns: Mapping[str, str]
    unit: TimestampUnit
    tables: Tables
    num_rows: int

    def batches(self, names: Sequence[str], what: str) -> Iterator[dict[str, Any]]:
        """Yield batches of ids (`IdBatch`) and times (int64 seconds); raises InputError for a wrong row.

        The next batch is read while the current one is processed. `what` labels the progress line.
        """
        done = 0
        with ThreadPoolExecutor(1) as reader, Progress(what, self.num_rows) as advance:
            read = self._read(names)
            next_batch = reader.submit(next, read, None)
            while (batch := next_batch.result()) is not None:
                next_batch = reader.submit(next, read, None)
                yield batch
                done += next(len(each) for each in batch.values())
                advance(done)

    def column(self, name: str) -> SourceColumn:
        """Return a column without values, for messages."""
        starts, path = self.tables.file_starts, self.tables.source_path("interactions")
        return SourceColumn(pd.Series(dtype=object), path, self.columns[name], starts)

    def _read(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        columns = [self.columns[name] for name in names]
        for path in self.files:
            before = 0
            try:
                # Without buffering of whole row groups, which would need the memory of the file.
                with open_parquet(path, pre_buffer=False, buffer_size=2**20) as file:
                    for batch in file.iter_batches(blocks.BLOCK_ROWS, columns=columns):
                        yield {name: self._values(path, name, batch, before) for name in names}
                        before += len(batch)
            except (OSError, pa.ArrowException) as error:
                raise unreadable(path, error) from error

    def _values(self, path: TablePath, name: str, batch: pa.RecordBatch, before: int) -> IdBatch | np.ndarray:
        """Return checked ids or times of a batch that `before` rows of the file precede."""

        def column(values: pa.Array, before: int = before) -> SourceColumn:
            frame_column: pd.Series[Any] = series(pa.chunked_array([values]))
            return SourceColumn(
                frame_column, str(path), self.columns[name], counted="rows or more", before=before
            )

        array = batch.column(batch.schema.get_field_index(self.columns[name]))
        if name == TIMESTAMP:
            return checked_times(column(array), self.unit).to_numpy(dtype=np.int64)
        if pa.types.is_int64(array.type) and array.null_count == 0:
            return IdBatch(array.to_numpy())
        if is_text(array.type) and array.null_count == 0:
            encoded = array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)
            distinct = encoded.dictionary.to_pandas().to_numpy(dtype=object)
            if not any(value is None for value in distinct):
                try:
                    checked_ids(column(encoded.dictionary, 0), is_csv=False)
                except InputError:  # name the first row, unless no row has the wrong text
                    checked_ids(column(array), is_csv=False)
                return IdBatch(distinct, encoded.indices.to_numpy().astype(np.int32))
        return IdBatch(checked_ids(column(array), is_csv=False).to_numpy())


def rows_to_stream(paths: Sequence[TablePath], columns: Mapping[str, str]) -> int | None:
    """Return the number of rows of long Parquet files of ids and times, which are read in batches; else None.

    Args:
        paths: the files.
        columns: `user_id` and so on -> column in the files.
    """
    if set(columns) - {USER_ID, ITEM_ID, TIMESTAMP} or not all(is_parquet(path) for path in paths):
        return None
    time = columns.get(TIMESTAMP)
    num_rows = 0
    for path in paths:
        with open_parquet(path) as file:
            schema, num_rows = file.schema_arrow, num_rows + file.metadata.num_rows
        kinds = {name: schema.field(name).type for name in schema.names}
        if time is not None and (time not in kinds or pa.types.is_nested(kinds[time])):
            return None
        for name in (columns[USER_ID], columns[ITEM_ID]):
            if name not in kinds or not (pa.types.is_integer(kinds[name]) or is_text(kinds[name])):
                return None
    return num_rows if num_rows > MAX_ROWS_IN_MEMORY else None


def is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type holds texts, plain or dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
