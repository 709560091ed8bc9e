"""What a launcher such as torchrun has set in the environment; without torch, for commands."""

import os

from twotower.config.errors import InputError

TIMEOUT_SECONDS = 24 * 3600
"""Ranks wait for rank 0 while it reads data and runs baselines. The end of a process is noticed at once."""


class LostProcessError(RuntimeError):
    """A process of the training was killed, or cannot be reached; a launcher starts the job again."""


def launched_size() -> int:
    """Return the number of processes that a launcher such as torchrun has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """Return the number of this process among those that a launcher has started."""
    return int(os.environ.get("RANK", "0")) if launched_size() > 1 else 0


def check_launcher(num_devices: int, num_nodes: int) -> None:
    """Check that a launcher has started as many processes as the settings say.

    Raises:
        InputError: it has not, or several machines have none.
    """
    size, launched = num_devices * num_nodes, launched_size()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", launched))
    if launched > 1 and (launched, here) != (size, num_devices):
        raise InputError(
            f"trainer.devices, trainer.num_nodes: {num_devices} processes on {num_nodes} machines, but the "
            f"launcher has started {launched}, {here} on this one; "
            f"type trainer.devices={here} trainer.num_nodes={launched // here}"
        )
    if launched == 1 and num_nodes > 1:
        raise InputError(
            f"trainer.num_nodes={num_nodes}: a launcher starts the processes on every machine: "
            f"torchrun --nnodes={num_nodes} --nproc-per-node={num_devices} --rdzv-backend=c10d "
            "--rdzv-endpoint=HOST:PORT -m twotower train ..."
        )
