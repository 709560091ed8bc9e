"""Given vectors, such as sentence or image embeddings."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.files.atomic import file_sha256
from twotower.model.features.dense import Dense, FloatMatrix


class Vector(Dense):
    """A given vector, unchanged, standardized or projected; a missing vector is zeros."""

    class Config(Dense.Config):
        """Settings of given vectors.

        `column` holds vectors of one length or, with `path`, row numbers of that file, from 0.
        """

        path: str | None = None
        """A `.npy` file with a matrix; new entities may also give their vector."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Require a matrix at `path`."""
            yield from super().problems(context)
            try:
                if self.path is not None:
                    self.matrix  # noqa: B018  reads the header
            except InputError as error:
                yield "path", str(error)

        @cached_property
        def matrix(self) -> npt.NDArray[Any]:
            """The matrix at `path`, memory-mapped; raises InputError if it is not a numeric matrix."""
            if self.path is None or not Path(self.path).is_file():
                raise InputError(
                    f"column {self.column!r}: there is no file {self.path}; `path` names a .npy matrix"
                )
            try:
                matrix: npt.NDArray[Any] = np.lib.format.open_memmap(self.path, mode="r")
            except (EOFError, OSError, ValueError) as error:
                raise InputError(f"{self.path}: expected a .npy matrix of numbers ({error})") from error
            if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.number):
                raise InputError(
                    f"{self.path}: expected a matrix of numbers, found {matrix.dtype} {matrix.shape}"
                )
            return matrix

    config: Config

    @property
    def expected(self) -> str:
        """The expected value, for messages."""
        length = f" of length {self.length}" if self.length else ""
        path = self.config.path
        if path is None:
            return f"a vector of finite numbers{length}, as long as all others"
        last = len(self.config.matrix) - 1
        return f"a row number of {path}, 0 to {last}, with finite numbers{length} in that row"

    def files_digest(self, values: pd.Series) -> str | None:
        """Return the SHA-256 of the matrix file."""
        return None if self.config.path is None else file_sha256(Path(self.config.path))

    def _wrong(self, values: pd.Series) -> list[bool]:
        vectors = self._vectors(values)
        length = self.length or next((len(vector) for vector in vectors if vector is not None), 0)
        return [vector is None or len(vector) != length for vector in vectors]

    @property
    def _default_length(self) -> int:
        return 1 if self.config.path is None else self.config.matrix.shape[1]

    def _vectors(self, values: pd.Series) -> list[FloatMatrix | None]:
        return [self._vector(value) for value in values]

    def _vector(self, value: Any) -> FloatMatrix | None:
        if self.config.path is not None and isinstance(value, int | float | np.integer | np.floating):
            matrix = self.config.matrix
            if not 0 <= value < len(matrix) or value != int(value):
                return None
            value = matrix[int(value)]
        if not isinstance(value, list | tuple | np.ndarray):
            return None
        try:
            with np.errstate(over="ignore"):  # infinite values are refused below
                vector = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            return None
        return vector if vector.ndim == 1 and len(vector) and np.isfinite(vector).all() else None
