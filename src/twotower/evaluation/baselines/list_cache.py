"""A cache of the lists of baselines, which are the same for all runs over the same data."""

import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.baselines.baseline import Baseline
from twotower.files.atomic import write_atomically
from twotower.files.code import OWN, code_fingerprint
from twotower.files.plain_values import fingerprint_values

MIN_SECONDS = 0.5  # lists that are computed faster are not stored
DIGEST_LENGTH = 16


class ListCache:
    """Lists of baselines in a folder, keyed by everything that they depend on.

    A file's name ends in a digest of its content; damaged files are computed again. Baselines of other
    packages are not cached, because they may read other files.

    Args:
        folder: of the lists.
        key: other values that the lists depend on: data, split, number of items per list.
        modules: further modules whose code affects the lists.
    """

    def __init__(self, folder: Path, key: tuple[str | int | bool, ...], modules: tuple[str, ...]) -> None:
        self._folder, self._key, self._modules = folder, key, modules

    def take(self, config: Baseline.Config, make: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the lists [Q, K] of item rows of a baseline: the cached ones, or the result of `make`."""
        kind = config.owner
        if kind.__module__.partition(".")[0] != OWN:
            return make()
        code = code_fingerprint([kind.__module__, *self._modules])
        settings = config.model_dump(mode="json")
        key = fingerprint_values([kind.__module__, kind.__qualname__, settings, code, *self._key])
        for path in self._folder.glob(f"{key}.*.npy"):
            with contextlib.suppress(OSError, ValueError, EOFError):  # of a damaged file
                rows: NDArray[np.int32] = np.load(path, allow_pickle=False)
                if path.name.split(".")[1] == _digest(rows):
                    return rows.astype(np.int64)
        began = time.monotonic()
        made = make()
        if time.monotonic() - began >= MIN_SECONDS:
            small = made.astype(np.int32)
            path = self._folder / f"{key}.{_digest(small)}.npy"
            write_atomically(path, lambda temporary: np.save(temporary, small, allow_pickle=False))
        return made


def _digest(rows: NDArray[np.int32]) -> str:
    return hashlib.sha256(repr((rows.shape, rows.dtype)).encode() + rows.tobytes()).hexdigest()[
        :DIGEST_LENGTH
    ]
