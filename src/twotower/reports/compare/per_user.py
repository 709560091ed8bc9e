"""Values of a metric by user, as runs store them."""

from pathlib import Path

import numpy as np

from twotower.runs.result import TEST_EXACT


class UnpairedError(Exception):
    """Per-user values cannot be compared; the message gives the reason."""


def user_difference(one: np.ndarray, other: np.ndarray) -> str:
    """Return how two sorted lists of users differ; empty if they are equal."""
    if len(one) != len(other):
        return f"other users ({len(one):,} against {len(other):,})"
    if one.dtype.kind != other.dtype.kind or not np.array_equal(one, other):
        return f"other users (also {len(one):,}, but not the same)"
    return ""


def read_column(path: Path, column: str, baseline: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Read a metric's values of a per-user table.

    A run with an exact index has no columns `test_exact/...`; its plain columns are read instead.

    Args:
        path: Parquet file.
        column: metric, as `recall_at_20`.
        baseline: which baseline to read; empty for a table of one run.

    Returns:
        Sorted users [Q] and their values [Q].

    Raises:
        UnpairedError: the file is absent or damaged, or does not have a number for every user.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    if not path.is_file():
        raise UnpairedError(f"it has no {path.name}")
    try:
        with ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            if column not in names:
                column = column.removeprefix(f"{TEST_EXACT}/")
            columns = ["user_id", column, *(["baseline"] if baseline else [])]
            if missing := [name for name in columns if name not in names]:
                raise UnpairedError(
                    f"{path.name} has no column {missing[0]}; a figure of the whole catalogue has none"
                )
            table = file.read(columns=columns, use_threads=False)
            users, values, *baselines = (table[name].to_numpy() for name in columns)
    except (ArrowException, OSError) as error:
        raise UnpairedError(f"{path.name} is damaged ({' '.join(str(error).split())[:120]})") from error
    if baseline:
        chosen = baselines[0].astype(str) == baseline
        users, values = users[chosen], values[chosen]
    if not len(users):
        raise UnpairedError(f"{path.name} has no user" + (f" of {baseline!r}" if baseline else ""))
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise UnpairedError(f"{path.name}: {column} is not a number for every user")
    users = users.astype(str) if users.dtype.kind == "O" else users
    order = np.argsort(users, kind="stable")
    users = users[order]
    if (users[1:] == users[:-1]).any():
        raise UnpairedError(f"{path.name} names a user twice")
    return users, values[order].astype(np.float64)
