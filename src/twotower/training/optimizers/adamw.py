"""Adam with decoupled weight decay, for dense and sparse gradients alike."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.config.spec import NonNegativeFloat, ProperFraction
from twotower.training.optimizers.optimizer import OptimizerChoice


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


class LazyAdamW(torch.optim.AdamW):
    """AdamW that takes sparse gradients: moments, decay and step touch the gradient's rows only."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; sparse gradients are left where they were."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse: list[tuple[nn.Parameter, Tensor]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    gradient = parameter.grad.coalesce()
                    self._step_rows(parameter, gradient, group)
                    sparse.append((parameter, gradient))
                    parameter.grad = None
        super().step()
        for parameter, gradient in sparse:
            parameter.grad = gradient
        return loss

    def _step_rows(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        beta_1, beta_2 = group["betas"]
        rows, values = gradient.indices()[0], gradient.values()
        first = state["exp_avg"][rows].lerp_(values, 1 - beta_1)
        second = state["exp_avg_sq"][rows].mul_(beta_2).addcmul_(values, values, value=1 - beta_2)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = first, second
        scale = (second / (1 - beta_2**step)).sqrt_().add_(group["eps"])
        kept = parameter[rows] * (1 - group["lr"] * group["weight_decay"])
        parameter[rows] = kept - group["lr"] / (1 - beta_1**step) * first / scale
