"""Optimizers: the fused step against torch's, sparse tables against dense ones, and catalogues that grow.

  python scripts/bench/optimizer.py                    all, four minutes and 10 GB
  python scripts/bench/optimizer.py --only fused       a few seconds
  python scripts/bench/optimizer.py --only growth --items 10000 1000000

`fused`: one step of the parameters of a default run and of MovieLens 1M, against `torch.optim.AdamW`.
`sparse`: backward and step of a table of 5 million items by 64, of which a batch looks up 4,096; the same
table and the same optimizer, with a dense gradient and with a sparse one.
`growth`: a whole training step, in-batch 4096 with 20 items of history, sparse tables, over catalogues that
grow; the ratio is of the seconds an example.
"""

import argparse
import gc
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from large_model import DIM, batches_of, large_module, zipf_log
from record import Pairs, pairs, write
from step_model import our_step
from torch import Tensor, nn
from torch.nn.functional import embedding

from twotower.training.optimizers.adamw import LazyAdamW
from twotower.training.optimizers.rowwise_adagrad import FusedRowwiseAdagrad

BATCH = 4096
SHAPES = {
    "default run": [
        (3_700, 64),
        (4_096, 64),
        (64, 137),
        (64,),
        (64, 64),
        (64,),
        (30, 8),
        (64, 72),
        (64,),
        (64,),
    ],
    "MovieLens 1M": [(3_417, 64), (3_417, 64), (20,), (128, 128), (128,), (64, 128), (64,), (64, 64), (64,)],
}
Figures = dict[str, Any]


def parameters_of(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    """Return parameters with gradients."""
    torch.manual_seed(0)
    made = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for parameter in made:
        parameter.grad = torch.randn(parameter.shape)
    return made


def told(name: str, found: Pairs) -> None:
    """Print a line."""
    print(f"{name:44} {found.told()}", flush=True)


def fused() -> Figures:
    """Time steps of dense parameters against torch's default AdamW, by the processor: they are short."""
    figures = {}
    for name, shapes in SHAPES.items():
        ours = LazyAdamW(parameters_of(shapes), lr=1e-3, weight_decay=0.1)
        theirs = torch.optim.AdamW(parameters_of(shapes), lr=1e-3, weight_decay=0.1)
        figures[f"fused, {name}"] = pairs(ours.step, theirs.step, 200, 5, time.process_time)
        told(f"fused, {name}", figures[f"fused, {name}"])
    return figures


def sparse(num_items: int) -> Figures:
    """Time backward and step of one table, looked up sparsely and densely."""
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(num_items + 1, DIM))
    rows = [torch.randint(1, num_items + 1, (BATCH,)) for _ in range(8)]
    numbers = iter(range(10_000))

    def step(optimizer: torch.optim.Optimizer, is_sparse: bool) -> Callable[[], None]:
        def run() -> None:
            looked_up = embedding(rows[next(numbers) % 8], table, sparse=is_sparse)
            looked_up.square().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()

        return run

    figures: Figures = {}
    adam = LazyAdamW([table], lr=1e-3)
    figures["sparse, lazy AdamW against AdamW"] = pairs(step(adam, True), step(adam, False), 4)
    rowwise = FusedRowwiseAdagrad([table], lr=1e-3)
    dense = step(adam, False)
    figures["sparse, row-wise Adagrad against AdamW"] = pairs(step(rowwise, True), dense, 4)
    for name, found in figures.items():
        told(f"{name}, {num_items:,}", found)
    return figures


def step_of(num_items: int, optimizer: str) -> Callable[[], Tensor]:
    """Return what makes a whole step, without Lightning."""
    log = zipf_log(num_items)
    module, batches = (
        large_module(log, num_items, sparse=True, optimizer=optimizer),
        batches_of(log, BATCH, 8),
    )
    return our_step(module, batches, low=False)


def growth(sizes: list[int], optimizer: str) -> Figures:
    """Time whole steps of larger catalogues against the smallest's."""
    figures: Figures = {}
    smallest = step_of(sizes[0], optimizer)
    name = optimizer.rpartition(".")[2]
    for size in sizes[1:]:
        larger = step_of(size, optimizer)
        key = f"growth, {name}, {sizes[0]:,} -> {size:,}"
        by_wall = pairs(smallest, larger, 7, warm_up=2)
        by_processor = pairs(smallest, larger, 7, clock=time.process_time)
        figures[key] = {"wall": vars(by_wall), "cpu": vars(by_processor)}
        told(f"{key}, wall", by_wall)
        told(f"{key}, cpu", by_processor)
        del larger
        gc.collect()
    return figures


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = ["fused", "sparse", "growth"]
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--items", nargs="*", type=int, default=[10_000, 1_000_000, 5_000_000])
    kinds = ["adamw.AdamW", "rowwise_adagrad.RowwiseAdagrad"]
    parser.add_argument("--optimizers", nargs="*", choices=kinds, default=kinds)
    asked = parser.parse_args()
    figures: Figures = {}
    print(f"torch threads {torch.get_num_threads()}\n{'':46} ours        theirs   theirs / ours")
    if "fused" in asked.only:
        figures |= fused()
    if "sparse" in asked.only:
        figures |= sparse(asked.items[-1])
    if "growth" in asked.only:
        for optimizer in asked.optimizers:
            figures |= growth(asked.items, optimizer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GB")
    name = "optimizer" if asked.only == parts else f"optimizer_{'_'.join(asked.only)}"
    write(name, figures | {"torch_threads": torch.get_num_threads(), "peak_gb": peak})


if __name__ == "__main__":
    main()
