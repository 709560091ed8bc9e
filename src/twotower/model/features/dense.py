"""Base class of features whose values are vectors: given, or computed from a text or an image."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from twotower.config.spec import WidthOrZero
from twotower.model.features.feature import Feature

FloatMatrix = npt.NDArray[np.float32]


class Dense(Feature):
    """A vector, unchanged, standardized or projected; a missing vector is zeros."""

    class Config(Feature.Config):
        standardize: bool = False
        """Scale each component to mean 0 and standard deviation 1 on train."""
        dim: WidthOrZero = 0
        """Width of a learned linear projection; 0 for the vector itself."""

    class State(Feature.State):
        """Mean and scale of each component."""

        mean: list[float] = Field(default_factory=list)
        std: list[float] = Field(default_factory=list)

    config: Config
    state: State

    @property
    def length(self) -> int:
        """Length of a vector; known after `fit`."""
        return len(self.state.mean)

    @property
    def output_dim(self) -> int:
        """Width of the projection, else the length of a vector; known after `fit`."""
        return self.config.dim or self.length

    def encoder(self) -> nn.Module:
        """Return a new projection or the identity, [..., length] -> [..., output_dim]."""
        return nn.Linear(self.length, self.config.dim, bias=False) if self.config.dim else super().encoder()

    @abstractmethod
    def _vectors(self, values: pd.Series) -> Sequence[FloatMatrix | None]:
        """Return the vector of each value, None if it is missing."""

    @property
    def _default_length(self) -> int:
        """Length if no training value has a vector."""
        return 1

    def _learn(self, values: pd.Series) -> State:
        vectors = [vector for vector in self._vectors(values) if vector is not None]
        if not vectors or not self.config.standardize:
            length = len(vectors[0]) if vectors else self._default_length
            return self.State(mean=[0.0] * length, std=[1.0] * length)
        matrix = np.stack(vectors).astype(np.float64)
        std = matrix.std(0)
        return self.State(mean=matrix.mean(0).tolist(), std=np.where(std > 0, std, 1.0).tolist())

    def _encode(self, values: pd.Series) -> Tensor:
        mean, std = np.asarray(self.state.mean), np.asarray(self.state.std)
        encoded: FloatMatrix = np.zeros((len(values), self.length), dtype=np.float32)
        for position, vector in enumerate(self._vectors(values)):
            if vector is not None and len(vector) == self.length:
                encoded[position] = (vector - mean) / std
        return torch.from_numpy(encoded)
