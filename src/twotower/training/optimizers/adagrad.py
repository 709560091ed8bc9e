"""Adagrad: a learning rate of its own for every parameter, which rare items like."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Adagrad as TorchAdagrad
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, PositiveFloat, ProperFraction
from twotower.training.optimizers.optimizer import OptimizerChoice, Schedule


class Adagrad(OptimizerChoice):
    """Adagrad; takes sparse gradients without weight decay.

    Args:
        learning_rate: see `OptimizerChoice`.
        schedule: see `OptimizerChoice`.
        warmup_share: see `OptimizerChoice`.
        weight_decay: added to the gradient; must be 0 with sparse tables.

    Reference: Duchi et al., Adaptive Subgradient Methods, JMLR 2011.
    """

    def __init__(
        self,
        *,
        learning_rate: PositiveFloat = 1e-2,
        schedule: Schedule = "constant",
        warmup_share: ProperFraction = 0.3,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(learning_rate=learning_rate, schedule=schedule, warmup_share=warmup_share)
        self.weight_decay = weight_decay

    @property
    def takes_sparse(self) -> bool:
        """It does, without weight decay."""
        return self.weight_decay == 0

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Build the optimizer."""
        # torch warns at the first sparse step until it is told either way; indices come from embeddings.
        torch.sparse.check_sparse_tensor_invariants.disable()
        return TorchAdagrad(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
