"""What a choice of optimizer is: a learning rate, its schedule, and how to build the torch optimizer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from twotower.config.component import Component
from twotower.config.facts import Facts
from twotower.config.spec import PositiveFloat, ProperFraction


class OptimizerChoice(Component, ABC):
    """Learning rate and schedule, shared by every optimizer.

    Args:
        config: the choice.
    """

    class Config(Component.Config):
        """Settings of every optimizer."""

        learning_rate: PositiveFloat = 1e-3
        """The highest of the schedule."""
        schedule: Literal["constant", "one_cycle", "cosine"] = "one_cycle"
        """`constant`; `one_cycle` (cosine rise over the warm-up share, cosine fall to zero); `cosine` (fall
        alone)."""
        warmup_share: ProperFraction = 0.3
        """Share of all steps that `one_cycle` rises for."""

        @property
        def takes_sparse(self) -> bool:
            """Whether it takes the gradients of tables with `sparse: true`."""
            return False

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield the warm-up of a schedule without one; see `Config.unused`."""
            if "warmup_share" in self.model_fields_set and self.schedule != "one_cycle":
                yield "warmup_share", "only optimizer.schedule=one_cycle has a warm-up"

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Refuse tables whose gradients it does not take."""
            if facts.sparse and not self.takes_sparse:
                name = self.owner.__name__
                yield "", f"{name} as set takes no sparse gradients, which {facts.sparse[0]} gives"

        def build(self) -> "OptimizerChoice":
            """Build the choice; `optimizer` builds what torch steps with."""
            return self.make(OptimizerChoice)

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Build the torch optimizer."""

    def scheduler(self, optimizer: Optimizer, num_steps: int) -> LambdaLR:
        """Build the schedule over `num_steps` optimizer steps."""
        return LambdaLR(optimizer, lambda step: self.factor(step, num_steps))

    def factor(self, step: int, num_steps: int) -> float:
        """Return what the learning rate is multiplied by at a step."""
        if self.config.schedule == "constant":
            return 1.0
        rise = self.config.warmup_share * num_steps if self.config.schedule == "one_cycle" else 0.0
        if step < rise:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2
        done = min(1.0, (step - rise) / max(1.0, num_steps - rise))
        return (1 + math.cos(math.pi * done)) / 2
