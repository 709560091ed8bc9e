"""An exponential moving average of the weights, which is validated and kept in their place."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn


class MovingAverage(pl.Callback):
    """Averages the trained weights after each step, and lends the average to the validation.

    After step t the average is d * average + (1 - d) * weights, where d is the smaller of `decay` and
    (1 + t) / (10 + t). So the initial weights are soon forgotten.

    Between the start of a validation and the end of its epoch the module has the average, so that the best
    weights are an average; then it has the trained weights again.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.num_steps = 0
        self.average: list[Tensor] = []

    def restart(self, module: nn.Module) -> None:
        """Begin with the current weights."""
        self.num_steps = 0
        self.average = [weights.clone() for weights in _trained(module)]

    def copy_to(self, module: nn.Module) -> None:
        """Replace the weights by their average, if an epoch has begun."""
        if self.average:
            for weights, average in zip(_trained(module), self.average, strict=True):
                weights.copy_(average)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin, unless a checkpoint has the average."""
        if self.average:
            self.average = [average.to(pl_module.device) for average in self.average]
        else:
            self.restart(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Add the weights after a step."""
        self.num_steps += 1
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        for weights, average in zip(_trained(pl_module), self.average, strict=True):
            average.lerp_(weights, 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Exchange the weights for their average."""
        self._exchange(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Exchange them back, after a validation."""
        if trainer.num_val_batches:
            self._exchange(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its number of steps."""
        return {"num_steps": self.num_steps, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.num_steps, self.average = state_dict["num_steps"], state_dict["average"]

    def _exchange(self, module: nn.Module) -> None:
        for weights, average in zip(_trained(module), self.average, strict=True):
            trained = weights.clone()
            weights.copy_(average)
            average.copy_(trained)


def _trained(module: nn.Module) -> list[Tensor]:
    return [weights.detach() for weights in module.parameters() if weights.requires_grad]
