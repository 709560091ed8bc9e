"""What YAML may say of the Lightning Trainer, and how long to train."""

import inspect
from typing import Any, Literal

from twotower.problems import nearest
from twotower.spec import NonNegativeFloat, PositiveInt

OWN_ARGUMENTS = frozenset(
    {
        "barebones",
        "callbacks",
        "ckpt_path",
        "default_root_dir",
        "devices",
        "enable_checkpointing",
        "enable_model_summary",
        "enable_progress_bar",
        "num_nodes",
        "strategy",
        "fast_dev_run",
        "limit_train_batches",
        "limit_val_batches",
        "logger",
        "max_epochs",
        "max_steps",
        "num_sanity_val_steps",
        "overfit_batches",
        "use_distributed_sampler",
    }
)
"""Arguments of the Lightning Trainer that `fit` gives itself, and those that cut epochs short: batches are
addressed by their number, so an epoch is whole, resumed or not."""

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class TrainerChoice:
    """Arguments of the Lightning Trainer, stopping and checkpoints.

    Args:
        max_epochs: the most epochs; the learning-rate schedule spans them.
        patience: epochs without a better `monitor` before training stops.
        monitor: the metric that chooses the best checkpoint, e.g. `valid/recall_at_20`; its class says which
            way is better.
        precision: `32-true`, `bf16-mixed` (on a CPU too), `16-mixed` (GPU).
        gradient_clip_val: clip the gradient's norm; null or 0 for not.
        accelerator: as Lightning names them.
        refit: after choosing the number of epochs on the validation split, train again from the start on
            train + valid for that many; the result says so.
        checkpoint_every_steps: how often the checkpoint to resume from is written.
        log_every_steps: how often scalars are written.
        progress_bar: show one on a terminal.
        extra: any other argument of `pytorch_lightning.Trainer`, passed on as it is.
    """

    def __init__(
        self,
        *,
        max_epochs: PositiveInt = 20,
        patience: PositiveInt = 3,
        monitor: str = "valid/recall_at_20",
        precision: Precision = "32-true",
        gradient_clip_val: NonNegativeFloat | None = None,
        accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "cpu",
        refit: bool = True,
        checkpoint_every_steps: PositiveInt = 200,
        log_every_steps: PositiveInt = 20,
        progress_bar: bool = True,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.max_epochs = max_epochs
        self.patience = patience
        self.monitor = monitor
        self.gradient_clip_val = gradient_clip_val
        self.refit = refit
        self.checkpoint_every_steps = checkpoint_every_steps
        self.progress_bar = progress_bar
        self.arguments: dict[str, Any] = {
            "precision": precision,
            "gradient_clip_val": gradient_clip_val or None,
            "accelerator": accelerator,
            "devices": 1,  # training on several comes with the negatives gathered across them
            "log_every_n_steps": log_every_steps,
            **(extra or {}),
        }
        self.extra = extra or {}

    def problems(self) -> list[tuple[str, str]]:
        """Return (parameter, message) for what can be known to be wrong before any data is read."""
        found = [*_extra_problems(self.extra), *_accelerator_problems(self.arguments["accelerator"])]
        if self.arguments["precision"] == "16-mixed" and self.arguments["accelerator"] == "cpu":
            found.append(("precision", "16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true"))
        return found


def _extra_problems(extra: dict[str, Any]) -> list[tuple[str, str]]:
    if not extra:
        return []
    from pytorch_lightning import Trainer

    own = inspect.signature(TrainerChoice).parameters.keys() | OWN_ARGUMENTS | {"log_every_n_steps"}
    valid = inspect.signature(Trainer).parameters.keys() - own
    found = [
        (f"extra.{key}", "is set by this framework; see the other keys of trainer")
        for key in extra
        if key in own
    ]
    unknown = [key for key in extra if key not in own | valid]
    return found + [
        (f"extra.{key}", f"the Trainer has no such argument; {nearest(key, valid)}") for key in unknown
    ]


def _accelerator_problems(accelerator: str) -> list[tuple[str, str]]:
    import torch

    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there.get(accelerator, True):
        return []
    return [("accelerator", f"there is no {accelerator} here; use cpu or auto")]
