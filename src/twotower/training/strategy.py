"""The strategy of the Lightning Trainer for processes that train together."""

import signal
import threading
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.strategies import DDPStrategy

from twotower.parallel.ranks import rank, sum_over_ranks, world_size
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule

BUCKET_MEGABYTES = 25
"""Gradients of small models are sent at once; without this, the first megabyte is sent on its own."""


class JoinedProcesses(TorchElasticEnvironment):
    """The default process group of torch, which exists already.

    Args:
        num_devices: processes on each machine.
    """

    def __init__(self, num_devices: int) -> None:
        self.num_devices = num_devices

    def world_size(self) -> int:
        """Return the number of processes."""
        return world_size()

    def global_rank(self) -> int:
        """Return the number of this process."""
        return rank()

    def local_rank(self) -> int:
        """Return the number of this process on its machine."""
        return rank() % self.num_devices

    def node_rank(self) -> int:
        """Return the number of the machine."""
        return rank() // self.num_devices


def process_callbacks() -> list[pl.Callback]:
    """Return the callbacks that several processes need: one restores the present handler of SIGTERM.

    Lightning's handler waits for all processes within a step, in which others wait for this one.
    """
    handler = signal.getsignal(signal.SIGTERM)

    def restore(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)

    return [LambdaCallback(on_train_start=restore)] if world_size() > 1 else []


class FirstStep(NamedTuple):
    """The first step of several processes, before training.

    Attributes:
        loss: of the whole batch, in float32.
        has_unused_parameters: whether some process has parameters without a gradient (see
            `find_unused_parameters` of DDP).
    """

    loss: float
    has_unused_parameters: bool


def rehearse_step(module: RetrievalModule, batches: TrainBatches) -> FirstStep | None:
    """Compute the loss of the first batch and its gradients; None for one process."""
    if world_size() == 1:
        return None
    batch = next(batches.epoch_batches(0, 0)).to(module.device)
    module.on_train_batch_start(batch, 0)
    loss = module.batch_loss(batch)
    unused = sum(each is None for each in module.gradients(loss))
    figures = sum_over_ranks(torch.tensor([loss.item(), unused], dtype=torch.float64))
    return FirstStep(float(figures[0]) / world_size(), bool(figures[1]))


def process_arguments(num_devices: int, first_step: FirstStep | None) -> dict[str, Any]:
    """Return the arguments of the Trainer for one process, or for those of the group.

    Gradients have a process group of their own: torch reduces them during the backward pass, in which the
    embeddings of items are exchanged, too. Buffers are equal in all processes.

    Args:
        num_devices: processes on each machine.
        first_step: see `rehearse_step`; None for one process.
    """
    if first_step is None:
        return {"devices": 1}
    strategy = DDPStrategy(
        cluster_environment=JoinedProcesses(num_devices),
        find_unused_parameters=first_step.has_unused_parameters,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,  # no copy
        bucket_cap_mb=BUCKET_MEGABYTES,
        process_group=dist.new_group(),
    )
    return {"strategy": strategy, "devices": num_devices, "num_nodes": world_size() // num_devices}
