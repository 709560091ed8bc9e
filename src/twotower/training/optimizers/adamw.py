"""Adam with decoupled weight decay, for dense and sparse gradients alike."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, ProperFraction
from twotower.training.optimizers.fused import STEP, FusedOptimizer, Plan
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.optimizers.rows import step_rows

FIRST, SECOND = "exp_avg", "exp_avg_sq"


class AdamW(OptimizerChoice):
    """AdamW; tables with `sparse: true` are updated only in the rows a batch touched.

    Reference: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
    """

    class Config(OptimizerChoice.Config):
        """Settings of AdamW."""

        weight_decay: NonNegativeFloat = 0.0
        """Decoupled; of matrices and tables, not of biases, norms and the temperature."""
        beta_1: ProperFraction = 0.9
        """Decay of the first moment."""
        beta_2: ProperFraction = 0.999
        """Decay of the second moment."""

        @property
        def takes_sparse(self) -> bool:
            """It does."""
            return True

    config: Config

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Build the optimizer."""
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for parameter in parameters:
            (decayed if parameter.ndim > 1 else free).append(parameter)
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
        return LazyAdamW(
            [group for group in groups if group["params"]],
            lr=self.config.learning_rate,
            betas=(self.config.beta_1, self.config.beta_2),
            weight_decay=self.config.weight_decay,
        )


class LazyAdamW(FusedOptimizer):
    """AdamW that takes sparse gradients: moments, decay and step touch the gradient's rows only.

    The bias correction counts all steps. Where every row is touched at every step it is AdamW.

    Args:
        parameters: as torch's optimizers take them.
        lr: the learning rate.
        betas: decays of the moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
    """

    def __init__(
        self,
        parameters: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _shapes(self, parameter: Tensor, sparse: bool) -> dict[str, torch.Size]:
        return {FIRST: parameter.shape, SECOND: parameter.shape}

    def _step_dense(self, group: dict[str, Any], plan: Plan, gradients: list[Tensor]) -> None:
        _adamw(group, plan.parameters, gradients, plan.memory[FIRST], plan.memory[SECOND], plan.steps)

    def _step_sparse(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], rows: Tensor, values: Tensor
    ) -> None:
        def update(held: list[Tensor], gradients: Tensor) -> None:
            weights, first, second = held
            _adamw(group, [weights], [gradients], [first], [second], [state[STEP]])

        step_rows([parameter, state[FIRST], state[SECOND]], rows, values, update)


def _adamw(
    group: dict[str, Any],
    parameters: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
) -> None:
    """Step tensors in place by the kernel of torch's fused AdamW."""
    beta_1, beta_2 = group["betas"]
    torch._fused_adamw_(
        parameters,
        gradients,
        first,
        second,
        [],
        steps,
        lr=group["lr"],
        beta1=beta_1,
        beta2=beta_2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
