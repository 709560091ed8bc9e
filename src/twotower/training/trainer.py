"""What YAML may say of the Lightning Trainer, and how long to train."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from twotower.config.component import Component
from twotower.config.problems import nearest
from twotower.config.spec import Count, NonNegativeFloat, PositiveInt
from twotower.data.sources.source import Source
from twotower.evaluation.user_values import k_of, name_of


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


class TrainerChoice(Component):
    """Arguments of the Lightning Trainer, stopping and checkpoints; all is in its settings."""

    class Config(Component.Config):
        """How long to train, and on what."""

        max_epochs: PositiveInt = 20
        """The most epochs; the learning-rate schedule spans them."""
        patience: PositiveInt = 3
        """Epochs without a better `monitor` before training stops."""
        patience_steps: Count = 0
        """Patience is as many epochs at least as hold this many steps: epochs of a small log have few."""
        monitor: str = "valid/recall_at_20"
        """The metric that chooses the best checkpoint; its class says which way is better."""
        precision: Literal["32-true", "bf16-mixed", "16-mixed", "auto"] = "32-true"
        """`bf16-mixed` runs on a CPU too, `16-mixed` on a GPU only; `auto` is `bf16-mixed` where products of
        bfloat16 are quick and else `32-true`: a processor without them takes several times as long."""
        gradient_clip_val: NonNegativeFloat | None = None
        """Clip the gradient's norm; null or 0 for not."""
        compile: bool = False
        """Train the towers through `torch.compile`. Seldom worth it: of a step of 1,024 or 4,096 examples, 20
        items of history, MLP 64-128-64, it takes 0.98 to 1.03 of the time and from 3 (built before) to 120
        seconds more (a busy machine)."""
        accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "cpu"
        """As Lightning names them."""
        refit: bool = True
        """After choosing the number of epochs on the validation split, train again from the start on train +
        valid for that many; the result says so."""
        checkpoint_every_steps: PositiveInt = 200
        """How often the checkpoint to resume from is written; one that takes over a second waits until it is
        at most a twentieth of the time."""
        keep_optimizer_state: bool = False
        """Keep the last checkpoint, with the state of the optimizer, after the training has ended, so that
        `warm_start=` starts from it. Otherwise the checkpoints of a run that has ended hold weights only."""
        log_every_steps: PositiveInt = 20
        """How often scalars are written."""
        progress_bar: bool = True
        """Draw how an epoch goes, on a terminal."""
        extra: Extra | None = None
        """Further arguments of `pytorch_lightning.Trainer`, see `Extra`."""

        def arguments(self, epochs: int | None = None) -> dict[str, Any]:
            """Return arguments of `pytorch_lightning.Trainer`.

            Args:
                epochs: to train, whatever the least of them is; None: until patience ends.
            """
            least = ("min_epochs", "min_steps") if epochs else ()
            return {
                "precision": quickest(self.accelerator) if self.precision == "auto" else self.precision,
                "gradient_clip_val": self.gradient_clip_val or None,
                "accelerator": self.accelerator,
                "devices": 1,  # training on several comes with the negatives gathered across them
                "log_every_n_steps": self.log_every_steps,
                **{key: value for key, value in (self.extra or {}).items() if key not in least},
            }

        def patience_epochs(self, epoch_batches: int) -> int:
            """Return the epochs without a better `monitor` before training stops."""
            steps = max(1, epoch_batches // (self.extra or {}).get("accumulate_grad_batches", 1))
            return max(self.patience, math.ceil(self.patience_steps / steps))

        def problems(
            self,
            data: Source.Config | None = None,
            logged: Mapping[str, bool | None] | None = None,
            sparse: Sequence[str] = (),
        ) -> Iterator[tuple[str, str]]:
            """Refuse a metric that cannot choose, and what the Trainer or this machine cannot do."""
            yield from _extra_problems(self.extra or {})
            yield from _accelerator_problems(self.accelerator)
            if self.compile:
                yield from _compile_problems()
            if self.precision == "16-mixed" and self.accelerator == "cpu":
                yield "precision", "16-mixed needs a GPU; on a CPU use auto, bf16-mixed or 32-true"
            if self.gradient_clip_val and sparse:
                yield (
                    "gradient_clip_val",
                    f"torch cannot clip sparse gradients, which {sparse[0]} gives",
                )
            if logged is not None:
                yield from _monitor_problems(self.monitor, logged)
                has_labels = data is None or data.gives_negatives() is not False
                if self.monitor in logged and not k_of(self.monitor) and not has_labels:
                    others = [key for key, higher in logged.items() if k_of(key) and higher is not None]
                    yield (
                        "monitor",
                        (
                            f"{self.monitor!r} needs labels, and the data tells of nothing shown in vain;"
                            f" {nearest(self.monitor, others)}"
                        ),
                    )


def quickest(accelerator: str) -> Literal["32-true", "bf16-mixed"]:
    """Return the precision in which what trains here is quick; see `TrainerChoice.Config.precision`."""
    import torch

    from twotower.evaluation.half_search import is_quick

    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if accelerator in ("auto", "cpu") and is_quick() else "32-true"


def _monitor_problems(monitor: str, logged: Mapping[str, bool | None]) -> Iterator[tuple[str, str]]:
    choosing = [key for key, higher in logged.items() if higher is not None]
    if monitor not in logged:
        yield "monitor", f"{monitor!r} is not logged; {nearest(monitor, choosing)}"
    elif logged[monitor] is None:
        name = name_of(monitor)
        text = (
            f"{name} does not say whether higher or lower is better (its class has "
            f"higher_is_better = None), so it chooses no epoch; {nearest(monitor, choosing)}"
        )
        yield "monitor", text


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


def _compile_problems() -> Iterator[tuple[str, str]]:
    from twotower.training.compiled import missing_for_compile

    if what := missing_for_compile():
        yield (
            "compile",
            f"torch.compile needs {what}, which is not there; install it, or set trainer.compile=false",
        )


def _accelerator_problems(accelerator: str) -> list[tuple[str, str]]:
    if accelerator in ("auto", "cpu"):
        return []
    import torch

    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there.get(accelerator, True):
        return []
    return [("accelerator", f"there is no {accelerator} here; use cpu or auto")]
