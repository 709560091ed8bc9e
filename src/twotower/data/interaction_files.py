"""Long interactions in Parquet files, read in batches of ids and times."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twotower.config.progress import Progress
from twotower.data import blocks
from twotower.data.source_column import SourceColumn, checked_ids
from twotower.data.table_paths import TablePath, opened
from twotower.data.table_reader import is_parquet, series, unreadable
from twotower.data.tables import ITEM_ID, TIMESTAMP, USER_ID, Tables
from twotower.data.times import TimestampUnit, checked_times

STREAMED: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20}  # or the file is kept whole
LONGEST_IN_MEMORY = 200_000  # rows


@dataclass(frozen=True, eq=False)
class Ids:
    """Distinct ids of a batch (`values`, int64 or texts) and the position of each row's id in them (`codes`).

    If `codes` is None, `values` holds the id of each row.
    """

    values: np.ndarray
    codes: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.values if self.codes is None else self.codes)


@dataclass(frozen=True, eq=False)
class InteractionFiles:
    """The files of the interactions.

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
        """Yield batches: ids as `Ids` and times as int64 seconds; raises InputError with the first wrong row.

        The next batch is read while the current one is processed. `what` labels the progress line.
        """
        done = 0
        with ThreadPoolExecutor(1) as reader, Progress(what, self.num_rows) as advance:
            read = self._read(names)
            coming = reader.submit(next, read, None)
            while (batch := coming.result()) is not None:
                coming = reader.submit(next, read, None)
                yield batch
                done += next(len(each) for each in batch.values())
                advance(done)

    def column(self, name: str) -> SourceColumn:
        """Return a column without values, for messages."""
        pieces = self.tables.pieces
        return SourceColumn(
            pd.Series(dtype=object), self.tables.source_path("interactions"), self.columns[name], pieces
        )

    def _read(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        columns = [self.columns[name] for name in names]
        for place in self.files:
            before = 0
            try:
                with opened(place) as source, pq.ParquetFile(source, **STREAMED) as file:
                    for batch in file.iter_batches(blocks.BLOCK_ROWS, columns=columns):
                        yield {name: self._values(place, name, batch, before) for name in names}
                        before += len(batch)
            except (OSError, pa.ArrowException) as error:
                raise unreadable(place, error) from error

    def _values(self, place: TablePath, name: str, batch: pa.RecordBatch, before: int) -> "Ids | np.ndarray":
        array = batch.column(batch.schema.get_field_index(self.columns[name]))
        if pa.types.is_int64(array.type) and array.null_count == 0 and name != TIMESTAMP:
            return Ids(array.to_numpy())
        if name != TIMESTAMP and is_text(array.type) and array.null_count == 0:
            encoded = array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)
            distinct = encoded.dictionary.to_pandas().to_numpy(dtype=object)
            if not any(value is None for value in distinct):
                self._checked(place, name, encoded.dictionary, array, before)
                return Ids(distinct, encoded.indices.to_numpy().astype(np.int32))
        column = self._column(place, name, array, before)
        if name == TIMESTAMP:
            return checked_times(column, self.unit).to_numpy(dtype=np.int64)
        return Ids(checked_ids(column, is_csv=False).to_numpy())

    def _checked(self, place: TablePath, name: str, distinct: pa.Array, array: pa.Array, before: int) -> None:
        """Raise InputError with the first row whose text is not a valid id."""
        try:
            checked_ids(self._column(place, name, distinct, 0), is_csv=False)
        except ValueError:
            checked_ids(self._column(place, name, array, before), is_csv=False)  # or no row has it

    def _column(self, place: TablePath, name: str, array: pa.Array, before: int) -> SourceColumn:
        values: pd.Series[Any] = series(pa.chunked_array([array]))
        return SourceColumn(values, str(place), self.columns[name], counted="rows or more", before=before)


def rows_to_stream(places: Sequence[TablePath], columns: Mapping[str, str]) -> int | None:
    """Return the number of rows of long Parquet files of ids and times, which are read in batches; else None.

    Args:
        places: the files.
        columns: `user_id` and so on -> column in the files.
    """
    if set(columns) - {USER_ID, ITEM_ID, TIMESTAMP} or not all(is_parquet(place) for place in places):
        return None
    time = columns.get(TIMESTAMP)
    num_rows = 0
    for place in places:
        with opened(place) as source, pq.ParquetFile(source) as file:
            schema, num_rows = file.schema_arrow, num_rows + file.metadata.num_rows
        kinds = {name: schema.field(name).type for name in schema.names}
        if time is not None and (time not in kinds or pa.types.is_nested(kinds[time])):
            return None
        for name in (columns[USER_ID], columns[ITEM_ID]):
            if name not in kinds or not (pa.types.is_integer(kinds[name]) or is_text(kinds[name])):
                return None
    return num_rows if num_rows > LONGEST_IN_MEMORY else None


def is_text(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds texts, plain or dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
