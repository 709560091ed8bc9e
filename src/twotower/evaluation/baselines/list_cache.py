"""A cache of the lists of baselines, which are the same for all runs over the same data."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.baselines.baseline import Baseline
from twotower.files.atomic import write_atomically
from twotower.files.code import OWN, code_fingerprint
from twotower.files.plain_values import fingerprint_of

WORTH_KEEPING = 0.5  # seconds that the lists took
SUM_DIGITS = 16  # of the content's digest, which is part of the file's name


class ListCache:
    """Lists of baselines in a folder, keyed by everything that they depend on.

    A file's name ends in a digest of its content; damaged files are computed again. Baselines of other
    packages are not cached, because they may read other files.

    Args:
        folder: where they are.
        facts: what the lists depend on beside the baseline: data, split, how many items are listed.
        modules: that shape lists, beside the baseline's own.
    """

    def __init__(self, folder: Path, facts: tuple[str | int | bool, ...], modules: tuple[str, ...]) -> None:
        self._folder, self._facts, self._modules = folder, facts, modules

    def take(self, config: Baseline.Config, make: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the lists [Q, K] of item rows of a baseline: the cached ones, or the result of `make`."""
        kind = config.owner
        if kind.__module__.partition(".")[0] != OWN:
            return make()
        code = code_fingerprint([kind.__module__, *self._modules])
        settings = config.model_dump(mode="json")
        key = fingerprint_of([kind.__module__, kind.__qualname__, settings, code, *self._facts])
        for path in self._folder.glob(f"{key}.*.npy"):
            rows = _read(path)
            if rows is not None:
                return rows.astype(np.int64)
        began = time.monotonic()
        made = make()
        if time.monotonic() - began >= WORTH_KEEPING:
            small = made.astype(np.int32)
            path = self._folder / f"{key}.{_sum_of(small)}.npy"
            write_atomically(path, lambda temporary: np.save(temporary, small, allow_pickle=False))
        return made


def _read(path: Path) -> NDArray[np.int32] | None:
    """Return the content of a file, None if it is damaged."""
    try:
        rows: NDArray[np.int32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows if path.name.split(".")[1] == _sum_of(rows) else None


def _sum_of(rows: NDArray[np.int32]) -> str:
    return hashlib.sha256(repr((rows.shape, rows.dtype)).encode() + rows.tobytes()).hexdigest()[:SUM_DIGITS]
