"""What `scale.py` measures: real trainings of several processes, exchanges, data, embeddings and indexes."""

import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
import torch.distributed as dist
from data_build import in_a_process, make_log, resident
from index import unit
from scaling import log_of
from scipy.optimize import nnls
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from twotower.commands.compose import load_settings
from twotower.data.build_dataset import build_dataset
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.vocabulary import Vocabulary
from twotower.evaluation.evaluate_towers import encode_catalogue, encode_users
from twotower.evaluation.top_k import exact_top_k
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.jobs.open_run import load_dataset
from twotower.jobs.run_config import RunConfig
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.parallel.processes import processes
from twotower.parallel.ranks import gather_rows, sum_over_ranks
from twotower.training.batches import TrainBatches
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import TrainContext, fit
from twotower.training.initialization.random import Random
from twotower.training.module import sparse_parameters
from twotower.training.objectives.next_item import NextItem
from twotower.training.optimizers.adamw import AdamW
from twotower.training.optimizers.rowwise_adagrad import RowwiseAdagrad
from twotower.training.parts import build_training

DIM, LENGTH, BATCH, NEGATIVES = 64, 50, 2048, 1024
RECIPE = (
    *("data=synthetic", "data.num_users=20000", "data.num_items=20000", "data.num_interactions=400000"),
    *("split=leave_one_out", "features=item_id", "features.item.item_id.sparse=true", "item_bias=none"),
    *("history=weighted_pooling", f"history.length={LENGTH}", "history.items=table", "history.sparse=true"),
    *("user_tower.widths=[128]", "item_tower.widths=[128]", f"embedding_dim={DIM}", "initialization=random"),
    *("objective=next_item", "negatives=mixed", "loss=in_batch_softmax", "optimizer=rowwise_adagrad"),
)
"""A recipe that large data permits: sparse tables, no user ids, and not the whole catalogue as negatives."""
DEFAULT = ("initialization=random", "user_tower.widths=[]", "item_tower.widths=[]")
"""The default recipe, on Online Retail: dense tables, and the whole catalogue as negatives."""
GRID = ((2048, 1024), (1024, 2048), (512, 2560), (256, 256), (256, 8192), (4096, 128), (4096, 8192))
"""Batch and negatives of the trainings of one process that the work of a step is fitted to."""
WARM_UP = 10
SIZES, ROWS = (2**14, 2**18, 2**22), (1_000, 4_000, 16_000)
"""Bytes of dense tensors, and rows of sparse ones, whose exchange is timed."""
BYTES_SENT = struct.Struct("<Q"), 200
"""Where `tcpi_bytes_sent` is in Linux's `struct tcp_info`."""
BUSY = f"""
import sys, time, torch
torch.set_num_threads(1)
table, users, items = (torch.randn(number, {DIM}) for number in (20_000, {BATCH}, {NEGATIVES}))
rows = torch.randint(20_000, ({BATCH}, {LENGTH}))
def work():
    table[rows].mean(1)
    (users @ items.T).softmax(1).T @ users
work()
print("ready", flush=True)
end, count = time.monotonic() + float(sys.stdin.readline()), 0
while time.monotonic() < end:
    work()
    count += 1
print(count)
"""
"""Program that waits for a number of seconds, and prints how often it computed for so long."""
Figures = dict[str, Any]


def sized(batch: int, negatives: int) -> tuple[str, ...]:
    """Return the recipe with another batch and another number of uniform negatives."""
    return (
        *RECIPE,
        f"objective.batch_size={batch}",
        f"negatives.parts.uniform.num_negatives={negatives}",
    )


def sent_bytes() -> int:
    """Return the bytes that the open TCP connections of this process have sent."""
    total = 0
    for path in Path("/proc/self/fd").iterdir():
        try:
            if not str(path.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(path.name))) as connection:
                information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
        except OSError:  # closed meanwhile, or no TCP
            continue
        layout, offset = BYTES_SENT
        total += layout.unpack_from(information, offset)[0] if len(information) >= offset + 8 else 0
    return total


RECIPES = {"sparse tables": sized(BATCH, NEGATIVES), "default": DEFAULT}


class Watch:
    """Times the parts of the steps of a training, in one process, and ends it.

    Attributes:
        cpu: part -> seconds of processor of its thread, for each call.
        counts: number of encoded items and of rows with a gradient.
        ends: wall time at the end of each step.
    """

    def __init__(self, num_steps: int, profiler: Any = None) -> None:
        self.num_steps, self.profiler = num_steps, profiler
        self.cpu: dict[str, list[float]] = defaultdict(list)
        self.counts: dict[str, list[int]] = defaultdict(list)
        self.ends: list[float] = []
        self.sent: list[int] = []

    def attach(self, module: Any, batches: TrainBatches) -> None:
        """Time the parts of a module, and the gathering of its batches."""
        for name in ("batch_loss", "backward", "optimizer_step"):
            setattr(module, name, self._timed(name, getattr(module, name)))
        module.scorer.negatives = self._timed("negatives", module.scorer.negatives)
        encode, gather = module.model.encode_both, batches.epoch_batches
        tables = sparse_parameters(module.model)

        def counted(rows: Any, users: Any) -> Any:
            self.counts["items"].append(len(rows))
            if 0 < len(self.ends) < WARM_UP:  # of the step before
                known = [each.grad for each in tables if each.grad is not None]
                self.counts["rows"] += (
                    [sum(len(each.coalesce().indices()[0]) for each in known)] if known else []
                )
            return encode(rows, users)

        def timed(*position: int) -> Iterator[Any]:
            gathered = gather(*position)
            while True:
                began, wall = time.thread_time(), time.perf_counter()
                batch = next(gathered, None)
                self.cpu["gather"].append(time.thread_time() - began)
                self.cpu["gather wall"].append(time.perf_counter() - wall)
                if batch is None:
                    return
                yield batch

        module.model.encode_both, batches.epoch_batches = counted, timed  # type: ignore[method-assign,assignment]

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*positional: Any, **named: Any) -> Any:
            began = time.thread_time()
            with record_function(f"part {name}"):
                result = function(*positional, **named)
            self.cpu[name].append(time.thread_time() - began)
            return result

        return call

    def __call__(self, epoch: int, value: float | None) -> bool:
        """Record the end of a step; the epoch callback of a training."""
        self.ends.append(time.perf_counter())
        self.cpu["end"].append(time.thread_time())
        if len(self.ends) in (WARM_UP, self.num_steps):
            self.sent.append(sent_bytes())
        if self.profiler is not None:
            self.profiler.step()
        return len(self.ends) >= self.num_steps

    def figures(self) -> Figures:
        """Return seconds of the steps after those that warm up; medians of processor time by part."""
        steps = np.diff(self.ends[WARM_UP - 1 :])
        cpu = {name: np.array(each[WARM_UP : self.num_steps]) for name, each in self.cpu.items()}
        whole = float(np.median(np.diff(self.cpu["end"][WARM_UP - 1 :])))
        names = ("batch_loss", "backward", "optimizer_step", "gather", "negatives")
        forward, backward, stepped, gather, negatives = (float(np.median(cpu[name])) for name in names)
        return {
            "median": float(np.median(steps)),
            "mean": float(steps.mean()),
            "sigma": float(np.log(steps).std()),
            "forward": forward,
            "backward": backward,
            "optimizer": stepped - forward - backward,
            "other": whole - stepped,
            "gather": gather,
            "negatives": negatives,
            "items": float(np.mean(self.counts["items"][WARM_UP:])),
            "rows": float(np.mean(self.counts["rows"] or [0])),
            "sent": (self.sent[1] - self.sent[0]) / (self.num_steps - WARM_UP),
        }


def train(folder: Path, overrides: Sequence[str], watch: Watch) -> None:
    """Train some steps, as `twotower train` does; every process calls it."""
    config = RunConfig.composed(load_settings("train", [*overrides, f"output_root={folder}"]))
    dataset = load_dataset(config, rebuild=False)
    module, batches = build_training(config, dataset, dataset.train, None, Random.Config().build())
    watch.attach(module, batches)
    with tempfile.TemporaryDirectory() as place:
        try:
            fit(TrainContext(config.trainer, Path(place), epoch_callback=watch), module, batches, "fit")
        except TrialPruned:
            return
    raise RuntimeError(f"the training ended after {len(watch.ends)} of {watch.num_steps} steps")


def timed_training(folder: Path, overrides: Sequence[str], size: int, num_steps: int) -> Figures:
    """Return the figures of rank 0 of a training of several processes on this machine."""
    overrides = (*overrides, f"trainer.devices={size}", "trainer.max_epochs=50")
    load_dataset(
        RunConfig.composed(load_settings("train", [*overrides, f"output_root={folder}"])), rebuild=False
    )
    watch = Watch(num_steps)
    with processes(size, 1, partial(train, folder, overrides, Watch(num_steps)), folder):
        train(folder, overrides, watch)
    return watch.figures()


def profiled_training(folder: Path, overrides: Sequence[str], size: int, num_steps: int = 30) -> Figures:
    """Return where the time of a step of rank 0 goes, by torch.profiler, in seconds of a step."""
    overrides = (*overrides, f"trainer.devices={size}", "trainer.max_epochs=50")
    load_dataset(
        RunConfig.composed(load_settings("train", [*overrides, f"output_root={folder}"])), rebuild=False
    )
    plan = schedule(wait=WARM_UP, warmup=2, active=num_steps, repeat=1)
    total = WARM_UP + num_steps + 4
    with profile(activities=[ProfilerActivity.CPU], schedule=plan) as profiler:
        watch = Watch(total, profiler)
        with processes(size, 1, partial(train, folder, overrides, Watch(total)), folder):
            train(folder, overrides, watch)
    seconds: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        seconds[event.key] += event.cpu_time_total / 1e6 / num_steps
    forward, backward, stepped = (
        seconds[f"part {name}"] for name in ("batch_loss", "backward", "optimizer_step")
    )
    whole = seconds["ProfilerStep*"]
    gathers = {name: value for name, value in seconds.items() if name.startswith("gloo:all_gather")}
    return {
        "step": whole,
        "forward": forward,
        "backward": backward,
        "optimizer": stepped - forward - backward,
        "other": whole - stepped,
        "batches, in another thread": statistics.median(watch.cpu["gather wall"][WARM_UP:]),
        "gathers": sum(gathers.values()),
        "all-reduce of tables": seconds["gloo:sparse_all_reduce"],
        "all-reduce, dense": seconds["gloo:all_reduce"],
        "sent": watch.figures()["sent"],
    }


def obtained_cores(size: int, seconds: float = 3.0) -> float:
    """Return how many times the work of one process `size` processes do at once, without exchanges."""
    return _num_loops(size, seconds) / _num_loops(1, seconds) if size > 1 else 1.0


def _num_loops(size: int, seconds: float) -> int:
    """Return how often `size` processes compute what resembles a training step, all of them together."""
    command = [sys.executable, "-c", BUSY]
    start = partial(subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    children: list[Any] = [start() for _ in range(size)]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write(f"{seconds}\n")
        child.stdin.flush()
    return sum(int(child.communicate()[0]) for child in children)


def line(columns: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Return coefficients >= 0 of the columns that give the seconds with the least relative error."""
    weights = 1 / np.array(seconds)
    found, _ = nnls(np.array(columns).T * weights[:, None], np.ones(len(weights)))
    return [float(each) for each in found]


def median_seconds(function: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    """Return the median time of a call, after one that warms up."""
    function()
    taken = []
    for _ in range(count):
        began = clock()
        function()
        taken.append(clock() - began)
    return statistics.median(taken)


def exchanges(found: dict[str, float]) -> None:
    """Time the exchanges of a training at several sizes; every process calls it, rank 0 reads `found`.

    Seconds are those by the clock, with the time in which a process waits: measure on a quiet machine. As in
    a training, tensors are new, and each process has computed before.
    """
    size, rows = dist.get_world_size(), torch.randint(20_000, (BATCH, LENGTH))
    table, users, items = (torch.randn(number, DIM) for number in (20_000, BATCH, NEGATIVES))

    def timed(new: Callable[[], torch.Tensor], function: Callable[[torch.Tensor], object]) -> float:
        taken = []
        for _ in range(16):
            table[rows].mean(1)
            (users @ items.T).softmax(1).T @ users
            values = new()
            dist.barrier()
            began = time.perf_counter()
            function(values)
            taken.append(time.perf_counter() - began)
        return statistics.median(taken[1:])

    def dense(number: int) -> torch.Tensor:
        return torch.randn(number // (4 * DIM), DIM)

    def sparse(number: int, of: int = 1_000_000) -> torch.Tensor:
        gradient = torch.sparse_coo_tensor(
            torch.randint(of, (1, number)), torch.randn(number, DIM), (of, DIM), check_invariants=False
        )
        return gradient.coalesce()

    reduced = [timed(partial(dense, number), sum_over_ranks) for number in SIZES]
    gathered = [timed(partial(dense, number // size), gather_rows) for number in SIZES]
    added = [timed(partial(sparse, number), dist.all_reduce) for number in ROWS]
    latency, reduce_byte = line([[1.0] * len(SIZES), SIZES], reduced)
    _, gather_byte = line([[1.0] * len(SIZES), SIZES], gathered)
    sparse_fixed, sparse_row = line([[1.0] * len(ROWS), ROWS], added)
    found |= {
        "small": timed(lambda: torch.zeros(1), dist.all_reduce),
        "dense": latency,
        "dense_byte": reduce_byte,
        "gather_byte": gather_byte,
        "sparse": sparse_fixed,
        "sparse_row": sparse_row,
    }


def timed_exchanges(folder: Path, size: int) -> dict[str, float]:
    """Return the costs of the exchanges of several processes on this machine, fixed and by byte or row."""
    found: dict[str, float] = {}
    with processes(size, 1, partial(exchanges, {}), folder):
        exchanges(found)
    return found


def work(folder: Path, num_steps: int = 30) -> dict[str, float]:
    """Return processor seconds of the steps of one process with each batch of the grid, and their fit."""
    runs = {each: timed_training(folder, sized(*each), 1, num_steps) for each in GRID}
    found = {
        "sample_seconds": statistics.median(run["negatives"] / run["items"] for run in runs.values()),
        "gather_seconds": statistics.median(run["gather"] / batch for (batch, _), run in runs.items()),
        "check_candidates": runs[BATCH, NEGATIVES]["items"],
    }
    for (batch, negatives), run in runs.items():
        found[f"grid_{batch}_{negatives}"] = run["forward"] + run["backward"] + run["other"]
        found[f"items_{batch}_{negatives}"] = run["items"]
        found[f"backward_{batch}_{negatives}"] = run["backward"]
        if batch + negatives == BATCH + NEGATIVES:
            found[f"check_rows_{batch}"] = run["rows"]
    return found | fitted_step(found)


def fitted_step(found: Mapping[str, float]) -> dict[str, float]:
    """Fit the seconds of a step to its examples, items and scores, and its backward pass to the first two."""
    batches = [float(batch) for batch, _ in GRID]
    items = [found[f"items_{batch}_{negatives}"] for batch, negatives in GRID]
    scores = [batch * number for batch, number in zip(batches, items, strict=True)]
    seconds = [found[f"grid_{batch}_{negatives}"] for batch, negatives in GRID]
    names = ("step_seconds", "example_seconds", "item_seconds", "score_seconds")
    fitted = dict(zip(names, line([[1.0] * len(GRID), batches, items, scores], seconds), strict=True))
    embedding = np.array(seconds) - fitted["score_seconds"] * np.array(scores)
    backward = np.array([found[f"backward_{batch}_{negatives}"] for batch, negatives in GRID])
    return fitted | {"backward_share": float(np.median(backward / embedding))}


def optimizer_work(
    table: int = 1_000_000, rows: tuple[int, ...] = (2_000, 20_000, 60_000)
) -> dict[str, float]:
    """Return processor seconds of an optimizer: by row of a sparse table, by weight of a dense one."""
    weights = torch.nn.Parameter(torch.zeros(table, DIM))
    optimizer = RowwiseAdagrad.Config(learning_rate=0.01).build().sparse_optimizer([weights])
    taken = []
    for number in rows:
        chosen = torch.randint(table, (1, number))
        weights.grad = torch.sparse_coo_tensor(chosen, torch.ones(number, DIM), (table, DIM))
        taken.append(median_seconds(optimizer.step, 9, time.process_time))
    fixed, row = line([[1.0] * len(rows), rows], taken)
    dense = torch.nn.Parameter(torch.zeros(100_000, DIM))
    dense.grad = torch.ones_like(dense)
    adam = AdamW.Config(learning_rate=0.01).build().dense_optimizer([dense], True)
    return {
        "optimizer_seconds": fixed,
        "optimizer_row_seconds": row,
        "dense_weight_seconds": median_seconds(adam.step, 9, time.process_time) / dense.numel(),
    }


def data_costs(folder: Path, num_rows: int = 5_000_000) -> dict[str, float]:
    """Return bytes and seconds by interaction: the log, the built data set, the training's arrays."""
    log, tiny = folder / "log.parquet", folder / "tiny.parquet"
    make_log(log, num_rows, far=False)
    make_log(tiny, 2_000, far=False)
    built = in_a_process("ours", log, tiny)
    assert built is not None
    smaller = num_rows // 10
    make_log(tiny, smaller, far=False)
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        source = TableFiles(TableFiles.Config(interactions_path=str(tiny)))
        build_dataset(source, LeaveOneOut(LeaveOneOut.Config()), Path(cache))
        stored = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
    interactions = log_of(folder, num_rows)
    before, began = resident("RssAnon"), time.process_time()
    objective, history = (
        NextItem(NextItem.Config(batch_size=BATCH)),
        MeanPooling.Config(length=LENGTH, strict=False),
    )
    batches = TrainBatches(interactions, objective, history=history, seed=0)
    batches.order.epoch(0)
    return {
        "log_bytes": log.stat().st_size / num_rows,
        "build_seconds": built["cpu"] / num_rows,
        "build_bytes": built["bytes"] / num_rows,
        "stored_bytes": stored / smaller,
        "order_seconds": (time.process_time() - began) / batches.order.size,
        "batch_bytes": (resident("RssAnon") - before) / num_rows,
    }


def id_bytes(number: int = 3_000_000) -> float:
    """Return the bytes of memory of an id in a vocabulary that has looked ids up."""
    before = resident("RssAnon")
    vocabulary = Vocabulary(np.arange(number) * 7)
    vocabulary.rows(np.arange(1000))
    return (resident("RssAnon") - before) / len(vocabulary)


def embedding_costs(folder: Path) -> dict[str, float]:
    """Return the processor seconds of the embedding of an item and of a user, and of an exact score."""
    config = RunConfig.composed(load_settings("train", [*RECIPE, f"output_root={folder}"]))
    dataset = load_dataset(config, rebuild=False)
    module, _ = build_training(config, dataset, dataset.train, None, Random.Config().build())
    users = np.arange(1, 8193)
    times = np.full(len(users), np.asarray(dataset.train.times).max() + 1)
    clock, items = time.process_time, encode_catalogue(module.model)
    vectors, chosen = torch.randn(256, DIM), torch.randn(200_000, DIM)
    return {
        "embed_item_seconds": median_seconds(lambda: encode_catalogue(module.model), 5, clock) / len(items),
        "embed_user_seconds": median_seconds(
            lambda: encode_users(module.model, dataset.train, users, times, None),
            5,
            clock,
        )
        / len(users),
        "exact_score_seconds": median_seconds(lambda: exact_top_k(vectors, chosen, 100), 5, clock)
        / (len(vectors) * len(chosen)),
    }


def index_costs(folder: Path, sizes: tuple[int, ...] = (50_000, 100_000, 200_000)) -> dict[str, float]:
    """Return the costs of `ivf_pq`; n items have about n ** .5 cells, to all of which one is compared."""
    built, added, searched, stored = [], [], [], 0.0
    queries, more = unit(256, 1), unit(50_000, 2)
    cells = [float(int(number**0.5)) for number in sizes]
    for number in sizes:
        vectors, began = unit(number, 0), time.process_time()
        index = IVFPQ.Config().for_size(number).build()
        index.build(vectors, np.arange(1, number + 1))
        built.append(time.process_time() - began)
        index.set_search_args({"nprobe": 16})
        searched.append(
            median_seconds(partial(index.search, queries, 100), 5, time.process_time) / len(queries)
        )
        index.save(folder / "index.faiss")
        stored = (folder / "index.faiss").stat().st_size / number
        began = time.process_time()
        index.add(more, np.arange(number + 1, number + 1 + len(more)))
        added.append((time.process_time() - began) / len(more))
    ones = [1.0] * len(sizes)
    add, cell = line([ones, cells], added)
    trained = [total - each * number for total, each, number in zip(built, added, sizes, strict=True)]
    fixed, item = line([ones, sizes], trained)
    query, query_cell = line([ones, cells], searched)
    return {
        "index_seconds": fixed,
        "index_item_seconds": item,
        "index_add_seconds": add,
        "index_cell_seconds": cell,
        "index_bytes": stored,
        "query_seconds": query,
        "query_cell_seconds": query_cell,
    }


COSTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "steps": work,
    "optimizers": lambda _: optimizer_work(),
    "exchanges": lambda folder: {
        f"exchange_{name}": value for name, value in timed_exchanges(folder, 2).items()
    },
    "data": data_costs,
    "ids": lambda _: {"id_bytes": id_bytes()},
    "embeddings": embedding_costs,
    "index": index_costs,
}
"""Name of some constants -> how to measure them, in a folder for files."""


def measured(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Return constants, measured once, with one thread."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    found: dict[str, float] = {}
    for name in names:
        found |= COSTS[name](folder)
    return found
