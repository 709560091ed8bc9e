"""Adam with decoupled weight decay."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, ProperFraction
from twotower.training.optimizers.optimizer import OptimizerChoice


class AdamW(OptimizerChoice):
    """`torch.optim.AdamW`; of tables with `sparse: true` only the rows in the batch are updated and decayed.

    Reference: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
    """

    class Config(OptimizerChoice.Config):
        weight_decay: NonNegativeFloat = 0.0
        """Decoupled, of matrices and tables only: not of biases, norms and the temperature."""
        beta_1: ProperFraction = 0.9
        """Decay of the first moment."""
        beta_2: ProperFraction = 0.999
        """Decay of the second moment."""
        takes_sparse: ClassVar[bool] = True

    config: Config

    def dense_optimizer(self, parameters: Sequence[nn.Parameter], fused: bool) -> Optimizer:
        """Build AdamW with two groups: with weight decay and without."""
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        undecayed = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": undecayed, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.config.learning_rate,
            betas=(self.config.beta_1, self.config.beta_2),
            weight_decay=self.config.weight_decay,
            fused=fused,
        )

    def sparse_optimizer(self, parameters: Sequence[nn.Parameter]) -> Optimizer:
        """Build SparseAdam with weight decay of the rows in the batch."""
        config = self.config
        betas = (config.beta_1, config.beta_2)
        optimizer = torch.optim.SparseAdam(parameters, lr=config.learning_rate, betas=betas)
        if config.weight_decay:
            decay = partial(decay_rows, config.weight_decay)
            optimizer.register_step_pre_hook(decay)
        return optimizer


@torch.no_grad()
def decay_rows(weight_decay: float, optimizer: Optimizer, *_: Any) -> None:
    """Before a step of SparseAdam, decay the rows of matrices that have a gradient."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.ndim > 1:
                parameter.grad = parameter.grad.coalesce()
                rows = parameter.grad.indices()[0]
                kept = parameter.index_select(0, rows) * (1 - group["lr"] * weight_decay)
                parameter.index_copy_(0, rows, kept)
