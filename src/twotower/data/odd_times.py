"""Times that no log can have, though each of them alone could be: units that were mixed or mistaken."""

import numpy as np

from twotower.data.check_tables import LATEST
from twotower.data.column import Column
from twotower.data.dataset import Audit
from twotower.data.splits.temporal import SECONDS_A_DAY, date

YEAR = 365 * SECONDS_A_DAY
LONGEST_GAP, LONGEST_SPAN = 10 * YEAR, 50 * YEAR
WARNING = "warning"
"""Key of the audit."""

MENDING = "bring all rows to one unit, and name it (data.timestamp_unit in table_files)"


def odd_times(column: Column) -> Audit:
    """Return what the audit must warn of, if anything: a gap, a span or a place in time that cannot be.

    Args:
        column: checked unix seconds.
    """
    times = column.values.to_numpy(dtype=np.int64)
    text = _oddity(column, times)
    return {WARNING: f"{column.origin}: column {column.name!r}: {text}"} if text else {}


def _oddity(column: Column, times: np.ndarray) -> str | None:
    first, last = int(times.min()), int(times.max())
    if last < LATEST // 1_000:
        return (
            f"all {len(times):,} rows lie between {date(first)} and {date(last)}, as seconds do that are "
            f"taken for milliseconds; {MENDING}"
        )
    if last - first <= LONGEST_GAP:
        return None
    ordered = np.unique(times)
    widest = int(np.diff(ordered).argmax())
    before, after = int(ordered[widest]), int(ordered[widest + 1])
    if after - before > LONGEST_GAP:
        early = times <= before
        few = early if 2 * int(early.sum()) <= len(times) else ~early
        return (
            f"{int(few.sum()):,} of {len(times):,} rows ({column.place(int(few.argmax()))} is the first) are "
            f"{(after - before) // YEAR} years from all others: none lies between {date(before)} and "
            f"{date(after)}, as where seconds and milliseconds are mixed; {MENDING}"
        )
    if last - first > LONGEST_SPAN:
        return f"the log runs from {date(first)} to {date(last)}, longer than a log can; {MENDING}"
    return None
