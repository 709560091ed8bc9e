"""Adagrad: a learning rate per weight that falls with its gradients, which suits rare items."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, PositiveFloat
from twotower.training.optimizers.optimizer import OptimizerChoice


class Adagrad(OptimizerChoice):
    """`torch.optim.Adagrad`; supports sparse gradients without weight decay.

    Reference: Duchi et al., Adaptive Subgradient Methods, JMLR 2011.
    """

    class Config(OptimizerChoice.Config):
        learning_rate: PositiveFloat = 1e-2
        """The highest of the schedule."""
        schedule: Literal["constant", "one_cycle", "cosine"] = "constant"
        """See `OptimizerChoice`."""
        weight_decay: NonNegativeFloat = 0.0
        """Added to the gradient. Must be 0 with sparse tables."""
        bytes_per_sparse_weight: ClassVar[int] = 8
        """With the sum of its squared gradients."""

        @property
        def takes_sparse(self) -> bool:
            """Whether sparse gradients are supported: without weight decay only."""
            return self.weight_decay == 0

    config: Config

    def dense_optimizer(self, parameters: Sequence[nn.Parameter], fused: bool) -> Optimizer:
        """Build Adagrad; torch has its fused kernel for CPUs only."""
        return torch.optim.Adagrad(
            parameters,
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=fused and parameters[0].device.type == "cpu",
        )

    def sparse_optimizer(self, parameters: Sequence[nn.Parameter]) -> Optimizer:
        """Build Adagrad, which updates the rows in the batch only."""
        # Torch's default, stated because Adagrad's own sparse tensors would warn about it otherwise.
        torch.sparse.check_sparse_tensor_invariants.disable()
        return torch.optim.Adagrad(parameters, lr=self.config.learning_rate)
