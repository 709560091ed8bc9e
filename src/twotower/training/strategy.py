"""The strategy of the Lightning Trainer for processes that train together."""

import signal
import threading
from typing import Any

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


def has_unused_parameters(module: RetrievalModule, batches: TrainBatches) -> bool:
    """Return whether some process has parameters without a gradient in the first batch."""
    batch = next(batches.epoch_batches(0, 0)).to(module.device)
    module.on_train_batch_start(batch, 0)
    unused = [each is None for each in module.gradients(module.batch_loss(batch))]
    return bool(sum_over_ranks(torch.tensor(sum(unused))))


def process_arguments(num_devices: int, module: RetrievalModule, batches: TrainBatches) -> dict[str, Any]:
    """Return the arguments of the Trainer for one process, or for the processes of the group.

    Gradients have a process group of their own: torch reduces them during the backward pass, in which the
    embeddings of items are exchanged, too. Buffers are equal in all processes.

    Args:
        num_devices: processes on each machine.
        batches: of the training; the first one is used.
    """
    if world_size() == 1:
        return {"devices": 1}
    strategy = DDPStrategy(
        cluster_environment=JoinedProcesses(num_devices),
        find_unused_parameters=has_unused_parameters(module, batches),
        broadcast_buffers=False,
        gradient_as_bucket_view=True,  # no copy
        bucket_cap_mb=BUCKET_MEGABYTES,
        process_group=dist.new_group(),
    )
    return {"strategy": strategy, "devices": num_devices, "num_nodes": world_size() // num_devices}
