"""Adagrad: a learning rate of its own for every parameter, which rare items like."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.optim import Adagrad as TorchAdagrad
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, PositiveFloat
from twotower.training.optimizers.optimizer import OptimizerChoice


class Adagrad(OptimizerChoice):
    """Adagrad; takes sparse gradients without weight decay.

    Reference: Duchi et al., Adaptive Subgradient Methods, JMLR 2011.
    """

    class Config(OptimizerChoice.Config):
        """Settings of Adagrad."""

        learning_rate: PositiveFloat = 1e-2
        """The highest of the schedule."""
        schedule: Literal["constant", "one_cycle", "cosine"] = "constant"
        """See `OptimizerChoice`."""
        weight_decay: NonNegativeFloat = 0.0
        """Added to the gradient; must be 0 with sparse tables."""

        @property
        def takes_sparse(self) -> bool:
            """It does, without weight decay."""
            return self.weight_decay == 0

    config: Config

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Build the optimizer."""
        # torch warns at the first sparse step until it is told either way; indices come from embeddings.
        torch.sparse.check_sparse_tensor_invariants.disable()
        return TorchAdagrad(parameters, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
