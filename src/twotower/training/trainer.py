"""What YAML may say of the Lightning Trainer, and how long to train."""

import inspect
from typing import Any, Literal

from typing_extensions import TypedDict

from twotower.config.problems import nearest
from twotower.config.spec import NonNegativeFloat, PositiveInt

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Extra(TypedDict, total=False):
    """What else may be said to the Lightning Trainer; its other arguments are ours, or have no use.

    None that cuts an epoch short: batches go by their number, so an epoch is whole, resumed or not.
    """

    accumulate_grad_batches: PositiveInt
    benchmark: bool
    detect_anomaly: bool
    deterministic: bool
    gradient_clip_algorithm: Literal["norm", "value"]
    inference_mode: bool
    min_epochs: PositiveInt
    min_steps: PositiveInt
    profiler: Literal["simple", "advanced", "pytorch"]


# Names that are not there are told in `problems`, which knows what they may have been meant to be.
Extra.__pydantic_config__ = {"extra": "allow", "strict": True}  # type: ignore[attr-defined]


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
        extra: further arguments of `pytorch_lightning.Trainer`, see `Extra`.
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
        extra: Extra | None = None,
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
        self.extra: Extra = extra or {}

    def problems(self) -> list[tuple[str, str]]:
        """Return (parameter, message) for what can be known to be wrong before any data is read."""
        found = [*_extra_problems(self.extra), *_accelerator_problems(self.arguments["accelerator"])]
        if self.arguments["precision"] == "16-mixed" and self.arguments["accelerator"] == "cpu":
            found.append(("precision", "16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true"))
        return found


def _extra_problems(extra: Extra) -> list[tuple[str, str]]:
    unknown = extra.keys() - Extra.__annotations__.keys()
    if not unknown:
        return []
    from pytorch_lightning import Trainer

    own = inspect.signature(Trainer).parameters
    ours, none = "is set by this framework, or has no use in it", "the Trainer has no such argument"
    return [
        (
            f"extra.{key}",
            f"{ours if key in own else none}; {nearest('' if key in own else key, Extra.__annotations__)}",
        )
        for key in sorted(unknown)
    ]


def _accelerator_problems(accelerator: str) -> list[tuple[str, str]]:
    import torch

    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there.get(accelerator, True):
        return []
    return [("accelerator", f"there is no {accelerator} here; use cpu or auto")]
