"""Adam with decoupled weight decay."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, ProperFraction
from twotower.training.optimizers.optimizer import OptimizerChoice, evaluate_closure


class AdamW(OptimizerChoice):
    """`torch.optim.AdamW`; of tables with `sparse: true` only the rows in the batch are updated and decayed.

    Reference: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
    """

    class Config(OptimizerChoice.Config):
        """Settings of AdamW."""

        weight_decay: NonNegativeFloat = 0.0
        """Decoupled, of matrices and tables only: not of biases, norms and the temperature."""
        beta_1: ProperFraction = 0.9
        """Decay of the first moment."""
        beta_2: ProperFraction = 0.999
        """Decay of the second moment."""

        @property
        def takes_sparse(self) -> bool:
            """Always True."""
            return True

    config: Config

    def dense_optimizer(self, parameters: Sequence[nn.Parameter], fused: bool) -> Optimizer:
        """Build AdamW with two groups: with weight decay and without."""
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        others = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
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
        return SparseAdamW(parameters, config.learning_rate, betas, config.weight_decay)


class SparseAdamW(torch.optim.SparseAdam):
    """`torch.optim.SparseAdam` with decoupled weight decay of the rows that have a gradient.

    Args:
        weight_decay: of tables with more than one dimension.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas)
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Decay and update the rows that have a gradient; returns the loss of `closure`."""
        loss = evaluate_closure(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.ndim > 1 and self.weight_decay:
                    parameter.grad = parameter.grad.coalesce()
                    rows = parameter.grad.indices()[0]
                    kept = parameter.index_select(0, rows) * (1 - group["lr"] * self.weight_decay)
                    parameter.index_copy_(0, rows, kept)
        super().step()  # type: ignore[no-untyped-call]
        return loss
