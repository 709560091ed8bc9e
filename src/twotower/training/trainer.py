"""Settings of the Lightning Trainer, early stopping and checkpoints."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.problems import nearest
from twotower.config.run_keys import MEAN_VALID
from twotower.config.spec import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt, ProperFraction
from twotower.data.sources.source import Source
from twotower.evaluation.user_values import metric_k, metric_name


class TrainerChoice(Component):
    """Arguments of the Lightning Trainer, early stopping and checkpoints; see `Config`."""

    class Config(Component.Config):
        max_epochs: PositiveInt = 20
        """Maximum number of epochs; the learning-rate schedule spans them."""
        patience: PositiveInt = 3
        """Training stops after this many epochs without a better `monitor`."""
        patience_steps: NonNegativeInt = 0
        """Minimum patience in optimizer steps, for small data sets with few steps per epoch."""
        initial_share: Fraction | None = None
        """Share of the embeddings of `initialization=svd` in the final weights; the rest is from the best
        epoch. null: the validation split chooses 0, 0.25, 0.5, 0.75 or 1 by `monitor`. With 1 there is no
        training."""
        monitor: str = "valid/recall_at_20"
        """Metric that selects the best checkpoint; its class defines `higher_is_better`. With split=rolling,
        `mean_valid/...` is the mean over the windows, by which sweeps choose; each window selects its
        checkpoint by its own `valid/...`."""
        probe_steps: NonNegativeInt = 100
        """Steps of a short training, at least an epoch or 1,000 steps of it, by which the validation split
        chooses the layers of `widths=auto`. 0 chooses nothing: they have their layers."""
        precision: Literal["32-true", "bf16-mixed", "16-mixed", "auto"] = "32-true"
        """`bf16-mixed` also runs on CPUs, `16-mixed` on GPUs only. `auto` is `bf16-mixed` if the machine
        multiplies bfloat16 fast, else `32-true`."""
        ema_decay: ProperFraction | None = None
        """Decay per step of an exponential moving average of the weights, such as 0.999: the average is
        validated and kept in place of the weights. In step t it is at most (1 + t) / (10 + t). null: no
        average."""
        gradient_clip_val: NonNegativeFloat | None = None
        """Maximum norm of the gradient; null or 0 disables clipping."""
        accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "cpu"
        """Accelerator, by its name in Lightning."""
        devices: PositiveInt = 1
        """Processes on each machine that train together, one per GPU or a share of the cores each. A batch is
        divided among all processes; `objective.batch_size` is the size of the whole."""
        num_nodes: PositiveInt = 1
        """Machines; torchrun, SLURM or Ray starts the processes of several."""
        strategy: Literal["auto", "ddp"] = "auto"
        """How several processes train together: auto is ddp, torch's distributed data parallel."""
        refit: bool = True
        """After selecting the number of epochs on the validation split, train a new model on train + valid
        for as many epochs."""
        checkpoint_every_steps: PositiveInt = 200
        """Steps between two checkpoints to resume from. Checkpoints that take over a second are written less
        often, so that they take at most 5 % of the time."""
        log_every_steps: PositiveInt = 20
        """Steps between two values of a curve."""
        progress_bar: bool = True
        """Show the progress of an epoch on a terminal."""

        def arguments(self) -> dict[str, Any]:
            """Return arguments of the Lightning Trainer, except the arguments of `process_arguments`."""
            precision = fastest_precision(self.accelerator) if self.precision == "auto" else self.precision
            return {
                "max_epochs": self.max_epochs,
                "precision": precision,
                "gradient_clip_val": self.gradient_clip_val or None,
                "accelerator": self.accelerator,
                "log_every_n_steps": self.log_every_steps,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "use_distributed_sampler": False,
            }

        @property
        def num_processes(self) -> int:
            """The number of processes that train together."""
            return self.devices * self.num_nodes

        def patience_epochs(self, epoch_batches: int) -> int:
            """Return the patience in epochs."""
            return max(self.patience, math.ceil(self.patience_steps / max(1, epoch_batches)))

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Yield an unusable monitor, and what the machine does not support."""
            data: Source.Config | None = context.get("data")
            logged: Mapping[str, bool | None] | None = context.get("monitored")
            sparse: Sequence[str] = context.get("sparse_keys") or ()
            if self.accelerator != "cpu":
                import torch

                cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
                if not {"auto": True, "gpu": cuda or mps, "cuda": cuda, "mps": mps}[self.accelerator]:
                    yield "accelerator", f"this machine has no {self.accelerator}; use cpu or auto"
                elif cuda and self.devices > (count := torch.cuda.device_count()):
                    yield "devices", f"this machine has {count} GPUs; expected at most as many"
            if self.strategy == "ddp" and self.num_processes == 1:
                yield "strategy", "ddp is for several processes; set trainer.devices or trainer.num_nodes"
            if self.precision == "16-mixed" and self.accelerator == "cpu":
                yield "precision", "16-mixed needs a GPU; on a CPU use auto, bf16-mixed or 32-true"
            if self.gradient_clip_val and sparse:
                message = f"torch cannot clip sparse gradients, which {sparse[0]}=true produces"
                yield "gradient_clip_val", message
            if self.num_processes > 1 and "item_bias.sparse" in sparse:
                yield "devices", "several processes cannot train item_bias.sparse=true; set it to false"
            if logged is None:
                return
            selecting = [key for key, higher in logged.items() if higher is not None]
            if self.monitor not in logged:
                remedy = nearest(self.monitor, selecting)
                if self.monitor.startswith(MEAN_VALID):
                    remedy = f"a mean needs split=rolling with split.window=null; {remedy}"
                yield "monitor", f"{self.monitor!r} is not logged; {remedy}"
                return
            if logged[self.monitor] is None:
                message = (
                    f"{metric_name(self.monitor)} does not say whether higher or lower is better (its class "
                    "has higher_is_better = None), so it cannot select an epoch; "
                )
                yield "monitor", message + nearest(self.monitor, selecting)
            if not metric_k(self.monitor) and data is not None and data.gives_negatives() is False:
                message = f"{self.monitor!r} needs labels, and the data has no impressions without a click; "
                yield "monitor", message + nearest(self.monitor, [key for key in selecting if metric_k(key)])


def fastest_precision(accelerator: str) -> Literal["32-true", "bf16-mixed"]:
    """Return the fastest precision on this machine; see `TrainerChoice.Config.precision`."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Earlier releases of torch have no capabilities.
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        is_fast = accelerator in ("auto", "cpu") and bool(capabilities.get("avx512_bf16"))
    return "bf16-mixed" if is_fast else "32-true"
