"""The constants of `scale.py`: training steps, exchanges and memory, by processor time of one thread."""

import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from record import Figures
from scipy.optimize import nnls
from speed import resident
from steps import log_of

from twotower.commands.compose import load_settings
from twotower.evaluation.top_k import exact_top_k
from twotower.jobs.open_run import load_dataset
from twotower.jobs.run_config import RunConfig
from twotower.model.towers.embedding_tables import sparse_parameters
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.parallel.processes import processes
from twotower.parallel.ranks import gather_rows, sum_over_ranks
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import TrainContext, fit
from twotower.training.initialization.random import Random
from twotower.training.objectives.next_item import NextItem
from twotower.training.optimizers.adamw import AdamW
from twotower.training.optimizers.rowwise_adagrad import RowwiseAdagrad
from twotower.training.parts import build_training

DIM, LENGTH, BATCH, NEGATIVES, WARM_UP, NUM_STEPS = 64, 50, 2048, 1024, 10, 30
RECIPE = (
    *("data=synthetic", "data.num_users=20000", "data.num_items=20000", "data.num_interactions=400000"),
    *("split=leave_one_out", "features=item_id", "features.item.item_id.sparse=true", "item_bias=none"),
    *("history=weighted_pooling", f"history.length={LENGTH}", "history.items=table", "history.sparse=true"),
    *("user_tower.widths=[128]", "item_tower.widths=[128]", f"embedding_dim={DIM}", "initialization=random"),
    *("objective=next_item", "negatives=mixed", "loss=in_batch_softmax", "optimizer=rowwise_adagrad"),
    "trainer.max_epochs=50",
)
"""A recipe that large data permits: sparse tables, no user ids, and not the whole catalogue as negatives."""
GRID = ((BATCH, NEGATIVES), (1024, 2048), (512, 2560), (256, 256), (256, 8192), (4096, 128), (4096, 8192))
"""Batch and negatives of the steps of one process that the work of a step is fitted to."""
SIZES, ROWS = (2**14, 2**18, 2**22), (1_000, 4_000, 16_000)
"""Bytes of dense tensors, and rows of sparse ones, whose exchange is timed."""
BYTES_SENT = struct.Struct("<Q"), 200
"""Where `tcpi_bytes_sent` is in Linux's `struct tcp_info`."""
MEANINGS = {
    "step_seconds": "training step: fixed part",
    "example_seconds": "per example",
    "item_seconds": "per embedded item",
    "score_seconds": "per score of an example and an item",
    "backward_share": "share of the backward pass, without scores",
    "sample_seconds": "drawing negatives: per embedded item",
    "gather_seconds": "batch, in another thread: per example",
    "optimizer_row_seconds": "row-wise Adagrad: per row with a gradient",
    "dense_weight_seconds": "AdamW on a dense table: per weight",
    "exchange_small": "two processes: an exchange of 4 bytes",
    "exchange_dense_byte": "dense sum: per byte",
    "exchange_gather_byte": "gathering: per byte of the result",
    "exchange_sparse_row": "sparse sum: per row of each process",
    "order_seconds": "arrays and order of an epoch: per interaction",
    "batch_bytes": "memory of training data: per interaction",
    "exact_score_seconds": "exact search: per user and item",
}


def config_of(folder: Path, batch: int = BATCH, negatives: int = NEGATIVES, size: int = 1) -> RunConfig:
    """Return the recipe with a batch, a number of uniform negatives and a number of processes."""
    numbers = (f"objective.batch_size={batch}", f"negatives.parts.uniform.num_negatives={negatives}")
    return RunConfig.composed(
        load_settings("train", [*RECIPE, *numbers, f"trainer.devices={size}", f"output_root={folder}"])
    )


def sent_bytes() -> int:
    """Return the bytes that the open TCP connections of this process have sent."""
    total, (layout, offset) = 0, BYTES_SENT
    for path in Path("/proc/self/fd").iterdir():
        try:
            if not str(path.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(path.name))) as connection:
                information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
        except OSError:  # closed meanwhile, or no TCP
            continue
        total += layout.unpack_from(information, offset)[0] if len(information) >= offset + 8 else 0
    return total


def train(config: RunConfig, ends: list[float], sent: list[int]) -> None:
    """Train some steps, as `twotower train` does; every process calls it."""
    dataset = load_dataset(config, rebuild=False)
    module, batches = build_training(config, dataset, dataset.train, None, Random.Config().build())

    def step_ended(epoch: int, value: float | None) -> bool:
        ends.append(time.perf_counter())
        sent.append(sent_bytes())
        return len(ends) >= WARM_UP + NUM_STEPS

    with tempfile.TemporaryDirectory() as place:
        try:
            fit(TrainContext(config.trainer, Path(place), epoch_callback=step_ended), module, batches, "fit")
        except TrialPruned:
            return


def measure_training(size: int) -> Figures:
    """Return seconds of a step, and bytes sent by rank 0, of a training of several processes here."""
    ends: list[float] = []
    sent: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        config = config_of(Path(name), size=size)
        load_dataset(config, rebuild=False)
        with processes(size, 1, partial(train, config, [], []), Path(name)):
            train(config, ends, sent)
    steps = np.diff(ends[WARM_UP - 1 :])
    return {
        "median": float(np.median(steps)),
        "mean": float(steps.mean()),
        "sent": (sent[-1] - sent[WARM_UP - 1]) / len(steps),
    }


def fitted(columns: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Return coefficients >= 0 of the columns that give the seconds with the least relative error."""
    weights = 1 / np.array(seconds)
    found, _ = nnls(np.array(columns).T * weights[:, None], np.ones(len(weights)))
    return [float(each) for each in found]


def median_seconds(function: Callable[[], object], count: int) -> float:
    """Return the median processor time of a call, after one that warms up."""
    taken = []
    for _ in range(count + 1):
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return statistics.median(taken[1:])


def timed_steps(config: RunConfig) -> dict[str, float]:
    """Return medians of the parts of a step of one process, and counts of items and rows with a gradient."""
    dataset = load_dataset(config, rebuild=False)
    module, batches = build_training(config, dataset, dataset.train, None, Random.Config().build())
    weights = [each for each in module.parameters() if each.requires_grad]
    optimizer = module.optimizer_choice.optimizer(weights, sparse_parameters(module.model))
    draw, encode, gathered = module.compute_loss.draw, module.model.encode_both, iter(batches)
    drawn: list[float] = []
    items: list[int] = []

    def timed_draw(*given: object, **named: object) -> object:
        began = time.thread_time()
        result = draw(*given, **named)  # type: ignore[arg-type]
        drawn.append(time.thread_time() - began)
        return result

    def counted(rows: torch.Tensor, users: object) -> object:
        items.append(len(rows))
        return encode(rows, users)  # type: ignore[arg-type]

    module.compute_loss.draw, module.model.encode_both = timed_draw, counted  # type: ignore[assignment,method-assign]
    module.train()
    taken = []
    for number in range(WARM_UP + NUM_STEPS):
        clock = [time.thread_time()]
        batch = next(gathered, None) or next(gathered := iter(batches))
        clock.append(time.thread_time())
        module.on_train_batch_start(batch, number)
        loss = module.batch_loss(batch)
        clock.append(time.thread_time())
        loss.backward()  # type: ignore[no-untyped-call]
        clock.append(time.thread_time())
        grads = [each.grad for each in sparse_parameters(module.model) if each.grad is not None]
        rows = sum(each.coalesce().indices().shape[1] for each in grads)
        optimizer.step()
        optimizer.zero_grad()
        taken.append([*np.diff(clock), rows])
    gather, forward, backward, rows = np.median(taken[WARM_UP:], axis=0)
    mean_items = float(np.mean(items[WARM_UP:]))
    found = {
        "gather": gather,
        "work": forward + backward,
        "backward": backward,
        "rows": rows,
        "items": mean_items,
    }
    return found | {"draw": statistics.median(drawn[WARM_UP:])}


def step_costs(folder: Path) -> dict[str, float]:
    """Fit the seconds of a step to its examples, items and scores, and its backward pass to the first two."""
    runs = [timed_steps(config_of(folder, *each)) for each in GRID]
    batches, items = [float(batch) for batch, _ in GRID], [run["items"] for run in runs]
    scores = [batch * number for batch, number in zip(batches, items, strict=True)]
    seconds = [run["work"] for run in runs]
    names = ("step_seconds", "example_seconds", "item_seconds", "score_seconds")
    found = dict(zip(names, fitted([[1.0] * len(GRID), batches, items, scores], seconds), strict=True))
    embedding = np.array(seconds) - found["score_seconds"] * np.array(scores)
    found["backward_share"] = float(np.median(np.array([run["backward"] for run in runs]) / embedding))
    found["sample_seconds"] = statistics.median(run["draw"] / run["items"] for run in runs)
    found["gather_seconds"] = statistics.median(
        run["gather"] / batch for run, batch in zip(runs, batches, strict=True)
    )
    found["check_candidates"] = runs[0]["items"]
    for (batch, negatives), run in zip(GRID, runs, strict=True):
        found[f"items_{batch}_{negatives}"] = run["items"]
        found |= {f"check_rows_{batch}": run["rows"]} if batch + negatives == BATCH + NEGATIVES else {}
    return {name: float(each) for name, each in found.items()}


def exchanges(found: dict[str, float]) -> None:
    """Time the exchanges of a training by the clock; every process calls it, rank 0 reads `found`.

    As in a training, tensors are new, and each process has computed before.
    """
    rows, of = torch.randint(20_000, (BATCH, LENGTH)), 1_000_000
    tables, users, items = (torch.randn(number, DIM) for number in (20_000, BATCH, NEGATIVES))

    def timed(new: Callable[[], torch.Tensor], function: Callable[[torch.Tensor], object]) -> float:
        taken = []
        for _ in range(16):
            tables[rows].mean(1)
            (users @ items.T).softmax(1).T @ users
            values = new()
            dist.barrier()
            began = time.perf_counter()
            function(values)
            taken.append(time.perf_counter() - began)
        return statistics.median(taken[1:])

    def dense(number: int) -> torch.Tensor:
        return torch.randn(number // (4 * DIM), DIM)

    def sparse(number: int) -> torch.Tensor:
        values = torch.randint(of, (1, number)), torch.randn(number, DIM)
        return torch.sparse_coo_tensor(*values, (of, DIM), check_invariants=False).coalesce()

    reduced = [timed(partial(dense, number), sum_over_ranks) for number in SIZES]
    gathered = [timed(partial(dense, number // 2), gather_rows) for number in SIZES]
    added = [timed(partial(sparse, number), dist.all_reduce) for number in ROWS]
    found["exchange_small"] = timed(lambda: torch.zeros(1), dist.all_reduce)
    found["exchange_dense_byte"] = fitted([[1.0] * len(SIZES), SIZES], reduced)[1]
    found["exchange_gather_byte"] = fitted([[1.0] * len(SIZES), SIZES], gathered)[1]
    found["exchange_sparse"], found["exchange_sparse_row"] = fitted([[1.0] * len(ROWS), ROWS], added)


def exchange_costs(folder: Path) -> dict[str, float]:
    """Return the costs of the exchanges of two processes on this machine, fixed and by byte or row."""
    found: dict[str, float] = {}
    with processes(2, 1, partial(exchanges, {}), folder):
        exchanges(found)
    return found


def optimizer_costs(folder: Path) -> dict[str, float]:
    """Return processor seconds of an optimizer: by row of a sparse table, by weight of a dense one."""
    number, rows, taken = 1_000_000, (2_000, 20_000, 60_000), []
    weights = torch.nn.Parameter(torch.zeros(number, DIM))
    optimizer = RowwiseAdagrad.Config(learning_rate=0.01).build().sparse_optimizer([weights])
    for each in rows:
        weights.grad = torch.sparse_coo_tensor(
            torch.randint(number, (1, each)), torch.ones(each, DIM), (number, DIM)
        )
        taken.append(median_seconds(optimizer.step, 9))
    dense = torch.nn.Parameter(torch.zeros(100_000, DIM))
    dense.grad = torch.ones_like(dense)
    adam = AdamW.Config(learning_rate=0.01).build().dense_optimizer([dense], True)
    fixed, row = fitted([[1.0] * len(rows), rows], taken)
    weight = median_seconds(adam.step, 9) / dense.numel()
    return {"optimizer_seconds": fixed, "optimizer_row_seconds": row, "dense_weight_seconds": weight}


def other_costs(folder: Path, num_rows: int = 5_000_000) -> dict[str, float]:
    """Return seconds and bytes by interaction of the arrays of a training, and seconds of an exact score."""
    interactions = log_of(folder, num_rows)
    before, began = resident("RssAnon"), time.process_time()
    history = MeanPooling.Config(length=LENGTH, strict=False)
    batches = NextItem(NextItem.Config(batch_size=BATCH)).batches(interactions, history=history, seed=0)
    batches.order.epoch(0)
    found = {
        "order_seconds": (time.process_time() - began) / batches.order.size,
        "batch_bytes": (resident("RssAnon") - before) / num_rows,
    }
    users, items = torch.randn(256, DIM), torch.randn(200_000, DIM)
    score = median_seconds(partial(exact_top_k, users, items, 100), 5) / (len(users) * len(items))
    return found | {"exact_score_seconds": score}


COSTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "steps": step_costs,
    "optimizers": optimizer_costs,
    "exchanges": exchange_costs,
    "others": other_costs,
}
"""Name of some constants -> how to measure them, in a folder for files."""


def measure_constants(name: str) -> Figures:
    """Return constants, measured once, with one thread."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return dict(COSTS[name](Path(folder)))
