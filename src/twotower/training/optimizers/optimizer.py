"""The base class of optimizers: the learning rate, its schedule, and how to build the torch optimizer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.spec import PositiveFloat, ProperFraction


class OptimizerChoice(Component, ABC):
    """Learning rate and schedule, shared by every optimizer."""

    class Config(Component.Config):
        learning_rate: PositiveFloat = 1e-3
        """The highest of the schedule."""
        schedule: Literal["constant", "one_cycle", "cosine"] = "one_cycle"
        """`constant`; `one_cycle` (cosine rise over the warm-up share, cosine fall to zero); `cosine` (fall
        alone)."""
        warmup_share: ProperFraction = 0.3
        """Share of all steps that `one_cycle` rises for."""
        bytes_per_sparse_weight: ClassVar[int] = 12
        """Bytes of a weight of a sparse table with its state; here with two moments in float32."""
        takes_row_wise: ClassVar[bool] = False
        """Whether it trains tables with `row_wise: true`, whose kernel is row-wise Adagrad."""

        @property
        def takes_sparse(self) -> bool:
            """Whether the optimizer supports the gradients of tables with `sparse: true`."""
            return False

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield the warm-up of a schedule without one; see `Config.unused`."""
            if "warmup_share" in self.model_fields_set and self.schedule != "one_cycle":
                yield "warmup_share", "only optimizer.schedule=one_cycle has a warm-up"

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse sparse tables where the optimizer does not support sparse gradients."""
            sparse: Sequence[str] = context.get("sparse_keys") or ()
            if sparse and not self.takes_sparse:
                remedy = "optimizer.weight_decay=0" if getattr(self, "weight_decay", 0) else "optimizer=adam"
                message = (
                    f"{self.owner.__name__} with these settings does not support sparse gradients, which "
                    f"{sparse[0]}=true produces; set {remedy}, or {sparse[0]}=false"
                )
                yield "", message

        def build(self) -> "OptimizerChoice":
            """Build the choice; its `optimizer` builds the torch optimizer."""
            return self.make(OptimizerChoice)

    config: Config

    def optimizer(
        self, parameters: Iterable[nn.Parameter], sparse: Iterable[Tensor] = (), fused: bool = True
    ) -> Optimizer:
        """Build the torch optimizer.

        Args:
            sparse: those among them whose gradients are sparse.
            fused: whether dense parameters may be stepped by a fused kernel.
        """
        parameters, sparse_ids = list(parameters), {id(parameter) for parameter in sparse}
        dense = [parameter for parameter in parameters if id(parameter) not in sparse_ids]
        tables = [parameter for parameter in parameters if id(parameter) in sparse_ids]
        if not tables:
            return self.dense_optimizer(dense, fused)
        optimizers = [self.dense_optimizer(dense, fused)] if dense else []
        return CombinedOptimizer([*optimizers, self.sparse_optimizer(tables)])

    @abstractmethod
    def dense_optimizer(self, parameters: Sequence[nn.Parameter], fused: bool) -> Optimizer:
        """Build the optimizer of parameters with dense gradients; `fused` allows a fused kernel."""

    def sparse_optimizer(self, parameters: Sequence[nn.Parameter]) -> Optimizer:
        """Build the optimizer of tables with sparse gradients; needed if `takes_sparse` can be True.

        Its `step` is called without a closure.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support sparse gradients")

    def scheduler(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Build the schedule over `num_steps` optimizer steps."""
        return LambdaLR(optimizer, lambda step: self.factor(step, num_steps))

    def factor(self, step: int, num_steps: int) -> float:
        """Return the factor of the learning rate at a step."""
        if self.config.schedule == "constant":
            return 1.0
        rise = self.config.warmup_share * num_steps if self.config.schedule == "one_cycle" else 0.0
        if step < rise:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2
        done = min(1.0, (step - rise) / max(1.0, num_steps - rise))
        return (1 + math.cos(math.pi * done)) / 2


class CombinedOptimizer(Optimizer):
    """Steps several optimizers as one, with one state and one learning-rate schedule.

    Lightning clips gradients, accumulates them and resumes for a single optimizer only. Parameter groups and
    state are shared with the optimizers, so that a scheduler that sets `param_groups` reaches them.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        for optimizer in optimizers:
            self.state.update(optimizer.state)
            optimizer.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step each optimizer; returns the loss of `closure`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the state that `state_dict` returned."""
        super().load_state_dict(dict(state_dict))
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            optimizer.state = self.state
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]
