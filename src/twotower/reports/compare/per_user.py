"""The per-user values of a row, in the order of their users."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twotower.evaluation.user_values import LIST_HASH
from twotower.reports.compare.entries import Entry
from twotower.runs.result import TEST_EXACT
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES


class UnpairedError(Exception):
    """Why a row's per-user values cannot be used, in words."""


@dataclass(frozen=True)
class UserTable:
    """Values of one row, [S, Q], a line a seed, by sorted user [Q]; a baseline has no seed to change them.

    `lists` [S, Q] has a number for each list, equal for equal lists; None where a run recorded none.
    """

    users: np.ndarray
    values: np.ndarray
    has_seed: bool = True
    lists: np.ndarray | None = None

    @property
    def seeds_known(self) -> bool:
        """Whether what the seed changes, if anything, can be seen in these values."""
        return len(self.values) > 1 or not self.has_seed


def read_values(entry: Entry, column: str) -> UserTable:
    """Read a row's values of one metric. Raises UnpairedError: there are none, or seeds differ in users."""
    if entry.kind == "baseline":
        path = entry.run.folder / PER_USER_BASELINES
        users, values = read_column(path, column, baseline=entry.name)
        return UserTable(users, values[None], has_seed=False)
    tables = [read_column(run.folder / PER_USER, column) for run in entry.runs]
    users = tables[0][0]
    for run, (others, _) in zip(entry.runs, tables, strict=True):
        if reason := other_users(users, others):
            raise UnpairedError(f"{run.folder}: {reason} than the configuration's first run")
    lists = [_list_hashes(run.folder / PER_USER, column) for run in entry.runs]
    return UserTable(users, np.stack([values for _, values in tables]), lists=_stacked(lists))


def _list_hashes(path: Path, column: str) -> np.ndarray | None:
    """Return the numbers of the lists that a column is of; None where the run recorded none."""
    try:
        return read_column(path, column.removesuffix(column.rpartition("/")[2]) + LIST_HASH)[1]
    except UnpairedError:
        return None


def _stacked(lists: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [each for each in lists if each is not None]
    return np.stack(known) if len(known) == len(lists) else None


def other_users(one: np.ndarray, other: np.ndarray) -> str:
    """Say how two sorted lists of users differ, or nothing if they do not."""
    if len(one) != len(other):
        return f"other users ({len(one):,} against {len(other):,})"
    if one.dtype.kind != other.dtype.kind or not np.array_equal(one, other):
        return f"other users (also {len(one):,}, but not the same)"
    return ""


def read_column(path: Path, column: str, baseline: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted users of a table and their values of a metric. Raises UnpairedError: it has none.

    Where the index is exact, columns of `test_exact/` are those without it.
    """
    if not path.is_file():
        raise UnpairedError(f"it has no {path.name}")
    wanted = ["user_id", column] + (["baseline"] if baseline else [])
    table = _columns(path, wanted)
    users, values = np.asarray(table["user_id"]), np.asarray(table[column])
    if baseline:
        chosen = np.asarray(table["baseline"]).astype(str) == baseline
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


def _columns(path: Path, wanted: Sequence[str]) -> dict[str, Any]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, page_checksum_verification=True) as file:
            known = file.schema_arrow.names
            stored = [name if name in known else name.removeprefix(f"{TEST_EXACT}/") for name in wanted]
            missing = [name for name in stored if name not in known]
            if missing:
                raise UnpairedError(
                    f"{path.name} has no column {missing[0]}; a figure of the whole catalogue has none"
                )
            table = file.read(columns=stored, use_threads=False)
            return {name: table[each].to_numpy() for name, each in zip(wanted, stored, strict=True)}
    except (ArrowException, OSError) as error:
        raise UnpairedError(f"{path.name} is damaged ({' '.join(str(error).split())[:120]})") from error
