"""Adam with decoupled weight decay."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
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
        decay_to: Literal["zero", "initial"] = "zero"
        """The values that weight decay pulls to: zero, or the initial weights (L2-SP), so that a training
        stays near them. At a learning rate of 0.003, a decay of 0.1 is weak and one of 10 strong."""
        probe_decays: list[NonNegativeFloat] = Field(default_factory=list)
        """Values of `weight_decay`; one is chosen like `probe_rates`. Empty: `weight_decay` is used."""
        beta_1: ProperFraction = 0.9
        """Decay of the first moment."""
        beta_2: ProperFraction = 0.999
        """Decay of the second moment."""
        takes_sparse: ClassVar[bool] = True

        def probes(self) -> dict[str, list[float]]:
            """Return the settings of the base class, then the weight decays."""
            decays = {"weight_decay": self.probe_decays} if self.probe_decays else {}
            return super().probes() | decays

        @property
        def decays_to_initial(self) -> bool:
            """Whether there is a decay, to the initial weights."""
            return self.decay_to == "initial" and self.weight_decay > 0

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield the values of no decay; see `Config.unused`."""
            yield from super().unused()
            if self.decay_to != "zero" and not self.weight_decay and not self.probe_decays:
                yield "decay_to", "it needs optimizer.weight_decay above 0"

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.initial: dict[nn.Parameter, Tensor] = {}

    def keep_initial(self, parameters: Iterable[nn.Parameter]) -> None:
        """Keep the weights that `decay_to=initial` decays to; see `OptimizerChoice.keep_initial`."""
        if self.config.decays_to_initial:
            self.initial = {each: each.detach().clone() for each in parameters}

    def _initial(self, parameters: Iterable[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
        """Return the kept weights, of parameters without any the present ones; empty without such a decay."""
        if not self.config.decays_to_initial:
            return {}
        kept = self.initial
        return {
            each: kept[each].to(each.device) if each in kept else each.detach().clone() for each in parameters
        }

    def dense_optimizer(self, parameters: Sequence[nn.Parameter], fused: bool) -> Optimizer:
        """Build AdamW with two groups: with weight decay and without."""
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        undecayed = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": undecayed, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.config.learning_rate,
            betas=(self.config.beta_1, self.config.beta_2),
            weight_decay=self.config.weight_decay,
            fused=fused,
        )
        if initial := self._initial(matrices):
            optimizer.register_step_post_hook(partial(pull_to_initial, initial))
        return optimizer

    def sparse_optimizer(self, parameters: Sequence[nn.Parameter]) -> Optimizer:
        """Build SparseAdam with weight decay of the rows in the batch."""
        config = self.config
        betas = (config.beta_1, config.beta_2)
        optimizer = torch.optim.SparseAdam(parameters, lr=config.learning_rate, betas=betas)
        if config.weight_decay:
            decay = partial(decay_rows, config.weight_decay, self._initial(parameters))
            optimizer.register_step_pre_hook(decay)
        return optimizer


@torch.no_grad()
def pull_to_initial(initial: Mapping[nn.Parameter, Tensor], optimizer: Optimizer, *_: Any) -> None:
    """After a step of AdamW, add what makes its decay to zero a decay to the initial values.

    Reference: Li, Grandvalet and Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional
    Networks, ICML 2018 (L2-SP); here decoupled from the gradient, as in AdamW.
    """
    if getattr(optimizer, "found_inf", None):  # of a gradient scaler: the fused step has changed nothing
        return
    group = optimizer.param_groups[0]  # of the matrices
    for parameter, values in initial.items():
        if parameter.grad is not None:  # else it has not decayed
            parameter.add_(values, alpha=group["lr"] * group["weight_decay"])


@torch.no_grad()
def decay_rows(
    weight_decay: float, initial: Mapping[nn.Parameter, Tensor], optimizer: Optimizer, *_: Any
) -> None:
    """Before a step of SparseAdam, decay the rows of matrices that have a gradient.

    Args:
        initial: values of matrices that these decay to, in place of zero.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.ndim > 1:
                parameter.grad = parameter.grad.coalesce()
                rows = parameter.grad.indices()[0]
                kept = parameter.index_select(0, rows) * (1 - group["lr"] * weight_decay)
                if parameter in initial:
                    values = initial[parameter].index_select(0, rows)
                    kept.add_(values, alpha=group["lr"] * weight_decay)
                parameter.index_copy_(0, rows, kept)
