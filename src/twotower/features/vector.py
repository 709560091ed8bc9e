"""Dense vectors made elsewhere: sentence or image embeddings."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.config.spec import WidthOrNone
from twotower.features.feature import BoolArray, Feature

FloatMatrix = npt.NDArray[np.float32]


class Vector(Feature):
    """A given vector, as it is, standardised or projected; zeros where it is missing."""

    class Config(Feature.Config):
        """Settings of given vectors.

        `column` is of vectors of one length; or, with `path`, of row numbers into that file, from 0.
        """

        path: str | None = None
        """Of a `.npy` file holding a matrix. A new entity may still bring its vector itself."""
        standardise: bool = False
        """Scale each component to mean 0 and standard deviation 1 on train."""
        dim: WidthOrNone = 0
        """Width of a learned linear projection of it; 0 for the vector itself."""

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Tell whether there is a matrix at `path`."""
            yield from super().problems(facts)
            try:
                if self.path is not None:
                    self.matrix  # noqa: B018  reads the header
            except InputError as error:
                yield "path", str(error)

        @cached_property
        def matrix(self) -> npt.NDArray[Any]:
            """What `path` holds, memory-mapped; an InputError where it is no matrix of numbers."""
            if self.path is None or not Path(self.path).is_file():
                raise InputError(
                    f"column {self.column!r}: there is no file {self.path}; `path` names a .npy matrix"
                )
            try:
                matrix: npt.NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
            except ValueError as error:
                raise InputError(f"{self.path}: expected a .npy matrix of numbers ({error})") from error
            if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.number):
                raise InputError(
                    f"{self.path}: expected a matrix of numbers, found {matrix.dtype} {matrix.shape}"
                )
            return matrix

    class State(Feature.State):
        """What is subtracted from and what divides each component."""

        mean: list[float] = Field(default_factory=list)
        std: list[float] = Field(default_factory=list)

    config: Config
    state: State

    @property
    def expected(self) -> str:
        """What a value must be."""
        length = f" of length {self.length}" if self.length else ""
        path = self.config.path
        if path is None:
            return f"a vector of finite numbers{length}, as long as all others"
        last = len(self.config.matrix) - 1
        return f"a row number of {path}, 0 to {last}, with finite numbers in that row"

    @property
    def length(self) -> int:
        """Of a vector; known after `fit`."""
        return len(self.state.mean)

    @property
    def output_dim(self) -> int:
        """Width of the projection, or else the length of a vector, known after `fit`."""
        return self.config.dim or self.length

    def encoder(self) -> nn.Module:
        """Return a fresh projection, if there is one, [..., length] -> [..., output_dim]."""
        return nn.Linear(self.length, self.config.dim, bias=False) if self.config.dim else super().encoder()

    def _wrong(self, values: pd.Series) -> BoolArray:
        vectors = [self._vector(value) for value in values]
        dim = next((len(vector) for vector in vectors if vector is not None), 0)
        return np.array([vector is None or len(vector) != dim for vector in vectors], dtype=np.bool_)

    def _learn(self, values: pd.Series) -> State:
        vectors = [vector for vector in map(self._vector, values) if vector is not None]
        if not vectors:  # all are unknown: zeros, as wide as a vector to come if that can be known
            width = 1 if self.config.path is None else self.config.matrix.shape[1]
            return self.State(mean=[0.0] * width, std=[1.0] * width)
        if not self.config.standardise:
            dim = len(vectors[0])
            return self.State(mean=[0.0] * dim, std=[1.0] * dim)
        matrix = np.stack(vectors).astype(np.float64)
        std = matrix.std(0)
        return self.State(mean=matrix.mean(0).tolist(), std=np.where(std > 0, std, 1.0).tolist())

    def _encode(self, values: pd.Series) -> Tensor:
        mean, std = np.asarray(self.state.mean), np.asarray(self.state.std)
        encoded: FloatMatrix = np.zeros((len(values), self.length), dtype=np.float32)
        for position, value in enumerate(values):
            vector = self._vector(value)
            if vector is not None and len(vector) == self.length:
                encoded[position] = (vector - mean) / std
        return torch.from_numpy(encoded)

    def _vector(self, value: Any) -> FloatMatrix | None:
        if self.config.path is not None and isinstance(value, int | float | np.integer | np.floating):
            matrix = self.config.matrix
            if not 0 <= value < len(matrix) or value != int(value):
                return None
            value = matrix[int(value)]
        if not isinstance(value, list | tuple | np.ndarray):
            return None
        try:
            with np.errstate(over="ignore"):  # what is infinite then is no vector of ours
                vector = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            return None
        return vector if vector.ndim == 1 and len(vector) and np.isfinite(vector).all() else None
