"""Adagrad: a learning rate of its own for every parameter, which rare items like."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, PositiveFloat
from twotower.training.optimizers.fused import STEP, FusedOptimizer, Plan
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.optimizers.rows import step_rows

SUM = "sum"


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
        return FusedAdagrad(parameters, self.config.learning_rate, self.config.weight_decay)


class FusedAdagrad(FusedOptimizer):
    """Adagrad that takes sparse gradients: a row without one is neither read nor written.

    Args:
        parameters: as torch's optimizers take them.
        lr: the learning rate.
        weight_decay: added to dense gradients.
        eps: added to the root of the sum of squares.
    """

    def __init__(self, parameters: Any, lr: float, weight_decay: float = 0.0, eps: float = 1e-10) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "eps": eps})

    def _shapes(self, parameter: Tensor, sparse: bool) -> dict[str, torch.Size]:
        return {SUM: parameter.shape}

    def _step_dense(self, group: dict[str, Any], plan: Plan, gradients: list[Tensor]) -> None:
        _adagrad(group, plan.parameters, gradients, plan.memory[SUM], plan.steps)

    def _step_sparse(
        self, group: dict[str, Any], parameter: Tensor, state: dict[str, Any], rows: Tensor, values: Tensor
    ) -> None:
        def update(held: list[Tensor], gradients: Tensor) -> None:
            weights, squares = held
            _adagrad(group, [weights], [gradients], [squares], [state[STEP]])

        step_rows([parameter, state[SUM]], rows, values, update)


def _adagrad(
    group: dict[str, Any],
    parameters: list[Tensor],
    gradients: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    """Step tensors in place by the kernel of torch's fused Adagrad; elsewhere than on a CPU by a few."""
    if parameters[0].device.type != "cpu":  # not every torch has that kernel for other devices
        if group["weight_decay"]:
            gradients = [*torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])]
        torch._foreach_addcmul_(squares, gradients, gradients)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(parameters, gradients, roots, value=-group["lr"])
        return
    torch._fused_adagrad_(
        parameters,
        gradients,
        squares,
        steps,
        lr=group["lr"],
        lr_decay=0.0,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
