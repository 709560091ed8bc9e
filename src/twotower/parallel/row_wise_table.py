"""Embedding tables whose rows are divided among the processes that train together, with TorchRec.

Shapes: V rows of the whole table, D width of an embedding, R rows of one process.
"""

import importlib.util
import os
import secrets
import tempfile
import warnings
from pathlib import Path
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.optim import Optimizer

from twotower.model.features.encoders import DividedTable
from twotower.parallel.ranks import broadcast_json, gather_rows, rank, wait_for_all, world_size

INSTALL = "pip install 'twotower[torchrec]' && pip install --no-deps torchrec==1.8.0"
"""`--no-deps`: what torchrec requires is for GPUs, and overwrites the files of `fbgemm-gpu-cpu`."""
EPSILON = 1e-10
"""As in `SparseRowwiseAdagrad`."""
BLOCK_ROWS = 65_536
"""Rows that are drawn or sent at once; a multiple of 16, so that a whole table has the same draws."""
KERNEL_WIDTH = 4
"""FBGEMM needs embeddings of a multiple of this width."""
NAME = "rows"


def is_torchrec_installed() -> bool:
    """Return whether TorchRec and its kernels are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("torchrec", "fbgemm_gpu"))


class RowWiseTable(DividedTable):
    """An embedding table [V, D]; each process holds R consecutive rows, with their optimizer state.

    In training, a lookup exchanges rows and embeddings between all processes. Gradients return in the
    backward pass, in which each process updates its own rows by row-wise Adagrad. So a table is looked up
    once per step, by all processes. Outside training, lookups read a temporary file with the whole table,
    which the processes of a machine share; `eval` writes it, if rows have changed, and all processes call it.

    The initial rows and `state_dict` equal an `nn.Embedding`.

    Args:
        std: standard deviation of the initial rows; row 0 is zeros.

    Attributes:
        weight: an empty parameter that stands for the table in the optimizer.
        num_embeddings: V.
        own: the rows of this process.

    Reference: Ivchenko et al., TorchRec: a PyTorch Domain Library for Recommendation Systems, RecSys 2022.
    """

    def __init__(self, num_rows: int, dim: int, std: float) -> None:
        super().__init__()
        self.num_embeddings, self.dim = num_rows, dim
        block = -(-num_rows // world_size())
        self.own = slice(min(rank() * block, num_rows), min((rank() + 1) * block, num_rows))
        self._optimizer: Optimizer | None = None
        self._all_rows: Tensor | None = None
        if torch.get_default_device().type == "meta":  # to count weights
            self.weight = nn.Parameter(torch.empty(block, dim))
            return
        self.weight = nn.Parameter(torch.empty(0, dim), requires_grad=False)
        # FBGEMM's mean of squares includes the columns of zeros that fill up the width.
        self._filled = -(-dim // KERNEL_WIDTH) * KERNEL_WIDTH / dim
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FBGEMM reports the kernels that it was built without
            sharded = _shard(block * world_size(), round(dim * self._filled), self._filled**-0.5)
        self._unregistered = (sharded,)  # hidden from DDP, and from `parameters`
        self._rows = _local(sharded.state_dict()[f"embeddings.{NAME}.weight"])
        self._rows.zero_()
        self._draw(std)
        self.register_state_dict_post_hook(_insert_all_rows)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_take_own)  # type: ignore[no-untyped-call]

    def forward(self, rows: Tensor) -> Tensor:
        """Embed rows [...] -> [..., D]."""
        if not (self.training and torch.is_grad_enabled()):
            return embedding(rows, self.all_rows())
        from torchrec import KeyedJaggedTensor

        (sharded,) = self._unregistered
        if self._optimizer is not None:
            groups = self._optimizer.param_groups
            (rate,) = (each["lr"] for each in groups if any(p is self.weight for p in each["params"]))
            sharded.fused_optimizer.param_groups[0]["lr"] = rate * self._filled**-0.5
            sharded.fused_optimizer.step()  # passes the learning rate on
        self._all_rows = None
        number = torch.tensor([rows.numel()])
        looked_up = sharded(KeyedJaggedTensor(keys=[NAME], values=rows.flatten().long(), lengths=number))
        embeddings: Tensor = looked_up[NAME].values()[:, : self.dim]
        return embeddings.reshape(*rows.shape, self.dim)

    def all_rows(self) -> Tensor:
        """Return all rows [V, D], from a file; all processes call it if rows have changed since."""
        if self._all_rows is None:
            self._all_rows = self._write_all_rows()
        return self._all_rows

    def local_rows(self) -> Tensor:
        """Return the rows of this process [R, D], to be changed by all processes."""
        self._all_rows = None
        return self._rows[: self.own.stop - self.own.start, : self.dim]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; write the whole table for evaluation, see `RowWiseTable`."""
        if not mode and self.weight.device.type != "meta":
            self.all_rows()
        return super().train(mode)

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Read the learning rate of an optimizer with `weight`, from zero state; its checkpoints have ours.

        The state has the format of `SparseRowwiseAdagrad` for a whole table.
        """
        self._optimizer = optimizer
        (state,) = self._unregistered[0].fused_optimizer.state_dict()["state"].values()
        sums = _local(state[f"{NAME}.momentum1"])
        sums.zero_()
        sums = sums[: self.own.stop - self.own.start]

        def insert(optimizer: Optimizer) -> None:
            optimizer.state[self.weight]["sum"] = gather_rows(sums * self._filled)

        def take(optimizer: Optimizer) -> None:
            if self.weight in optimizer.state:
                sums.copy_(optimizer.state[self.weight]["sum"][self.own] / self._filled)

        optimizer.register_state_dict_pre_hook(insert)
        optimizer.register_load_state_dict_post_hook(take)

    @torch.no_grad()
    def _draw(self, std: float) -> None:
        """Draw the initial rows as `nn.Embedding` and `nn.init.normal_` do, without a whole table."""
        own = self.local_rows()
        for deviation in (1.0, std):
            for begin, end in _blocks(self.num_embeddings):
                block = torch.empty(end - begin, self.dim).normal_(std=deviation)
                first, last = max(begin, self.own.start), min(end, self.own.stop)
                if first < last:
                    rows = slice(first - self.own.start, last - self.own.start)
                    own[rows] = block[first - begin : last - begin]
        if self.own.start == 0:
            own[0] = 0

    @torch.no_grad()
    def _write_all_rows(self) -> Tensor:
        """Write all rows to a file without a name; each machine has one file."""
        path = Path(tempfile.gettempdir(), f"twotower-{broadcast_json(secrets.token_hex(8))}")
        size = self.num_embeddings * self.dim
        try:
            with path.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, size * self._rows.element_size())
            writes = True
        except FileExistsError:  # another process of this machine was faster
            writes = False
        wait_for_all()
        all_rows = torch.from_file(str(path), shared=True, size=size, dtype=self._rows.dtype)
        all_rows = all_rows.view(self.num_embeddings, self.dim)
        block = len(self._rows)
        for source in range(world_size()):
            for begin, end in _blocks(max(0, min(block, self.num_embeddings - source * block))):
                rows = self._rows[begin:end, : self.dim].contiguous()
                if source != rank():
                    rows = torch.empty(end - begin, self.dim)
                if world_size() > 1:
                    dist.broadcast(rows, source)
                if writes:
                    all_rows[source * block + begin : source * block + end] = rows
        wait_for_all()
        if writes:
            path.unlink()  # the memory that is mapped stays
        return all_rows


def _shard(num_rows: int, dim: int, epsilon_factor: float) -> Any:
    """Return TorchRec's module, one table whose rows are divided equally among all processes."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from torchrec import EmbeddingCollection, EmbeddingConfig
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
    from torchrec.distributed.types import ShardingEnv

    class RowWiseSharder(EmbeddingCollectionSharder):  # type: ignore[misc]
        """Offers row-wise sharding on CPUs, too, where TorchRec's planner does not."""

        def sharding_types(self, compute_device_type: str) -> list[str]:
            """Return the only type."""
            return ["row_wise"]

    optimizer = {"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "eps": EPSILON * epsilon_factor}
    sharder = RowWiseSharder(fused_params=optimizer)
    table = EmbeddingConfig(num_embeddings=num_rows, embedding_dim=dim, name=NAME, feature_names=[NAME])
    module = EmbeddingCollection(tables=[table], device=torch.device("meta"))
    size = world_size()
    plan = construct_module_sharding_plan(
        module,
        {NAME: row_wise(compute_kernel="fused")},
        sharder=sharder,
        local_size=size,
        world_size=size,
        device_type="cpu",
    )
    env = ShardingEnv.from_process_group(dist.group.WORLD)
    return sharder.shard(module, plan, env, torch.device("cpu"))


def _local(sharded: Any) -> Tensor:
    """Return the part of a sharded tensor that this process holds, a view."""
    (shard,) = sharded.local_shards()
    values: Tensor = shard.tensor
    return values


def _blocks(num_rows: int) -> list[tuple[int, int]]:
    """Return the begin and end of blocks; the last one has the remainder, too."""
    begins = [*range(0, max(1, num_rows // BLOCK_ROWS) * BLOCK_ROWS, BLOCK_ROWS)]
    return list(zip(begins, [*begins[1:], num_rows], strict=True))


def _insert_all_rows(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    assert isinstance(module, RowWiseTable)
    state[f"{prefix}weight"] = module.all_rows()


@torch.no_grad()
def _take_own(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, RowWiseTable)
    values = state.get(f"{prefix}weight")
    if values is not None and values.shape == (module.num_embeddings, module.dim):
        module.local_rows().copy_(values[module.own])
        state[f"{prefix}weight"] = module.weight
