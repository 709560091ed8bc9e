"""Tables of the cost of commands, of building a data set, of exact search, and of a divided id table."""

import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from record import ROOT, Figures, Row, Table, wall_and_cpu

from twotower.data.build_dataset import build_dataset
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.evaluation.top_k import ExcludedPairs, exact_top_k
from twotower.model.features.encoders import LookupEncoder
from twotower.parallel.processes import processes
from twotower.parallel.ranks import rank, world_size
from twotower.parallel.row_wise_table import RowWiseTable
from twotower.parallel.training_parts import table_builder
from twotower.training.optimizers.rowwise_adagrad import SparseRowwiseAdagrad

REPEATS = 3
COMMANDS = [
    Row("default run", ("reuse=false",), minutes=3),
    Row("--help", ("--help",)),
    Row("misspelt key", ("negatves=uniform",)),
    Row("misspelt key of a choice", ("loss.temprature=1",)),
    Row("import torch"),
    Row("three misspelt", ("negatves=uniform", "trainer.max_epoch=3", "loss.temprature=1")),
    Row("ill-typed", ("loss.temperature=warm",)),
    Row("choices that do not fit", ("loss=bce", "negatives=impressions")),
]


def resident(name: str) -> int:
    """Return bytes of this process: VmRSS now, VmHWM at the most since it was reset, RssAnon private."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def reset_peak() -> None:
    """Make the highest resident set the present one."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure_command(row: Row, seed: int) -> Figures:
    """Return the median wall and processor seconds of `twotower train`, or of an import."""
    taken = []
    for _ in range(REPEATS):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        with tempfile.TemporaryDirectory() as root:
            place = [] if "--help" in row.words else ["console=quiet", f"output_root={root}"]
            command = [sys.executable, str(ROOT / "scripts" / "train.py"), *row.words, *place]
            command = [sys.executable, "-c", row.name] if row.name == "import torch" else command
            subprocess.run(command, capture_output=True, check=row.name == "default run")
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
        taken.append([wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime])
    wall, cpu = np.median(taken, axis=0)
    return {"wall_seconds": round(float(wall), 2), "cpu_seconds": round(float(cpu), 2)}


# Building a data set from Parquet, next to reading and sorting the same log with Polars, if it is installed.
KEYS, GROUP, TINY = ["user_id", "timestamp"], 1_000_000, 2_000
BUILDS = [
    Row(f"{millions} million", (str(millions * 10**6),), minutes=millions / 10) for millions in (1, 10, 100)
]


def zipf(rng: np.random.Generator, size: int, count: int, exponent: float) -> np.ndarray:
    """Return ranks 1..size with frequencies falling as rank ** -exponent."""
    power = 1 - exponent
    ranks = ((rng.random(count) * (size**power - 1)) + 1) ** (1 / power)
    found: np.ndarray = np.minimum(ranks, size).astype(np.int64)
    return found


def make_log(path: Path, num_rows: int) -> None:
    """Write a log of Zipf's users and items with times to the minute in random order, by row groups."""
    rng = np.random.default_rng(0)
    num_users, num_items = max(num_rows // 50, 100), min(max(num_rows // 500, 100), 200_000)
    names = ["user_id", "item_id", "timestamp"]
    with pq.ParquetWriter(path, pa.schema([(name, pa.int64()) for name in names])) as writer:
        for start in range(0, num_rows, GROUP):
            count = min(GROUP, num_rows - start)
            users, items = zipf(rng, num_users, count, 0.6), zipf(rng, num_items, count, 0.9)
            times = 1_600_000_000 + rng.integers(0, 2 * 365 * 1440, count) * 60
            writer.write_table(pa.table(dict(zip(names, (users, items, times), strict=True))))


def build(path: Path) -> int:
    """Build a data set into a folder that is gone afterwards; return its bytes on the disk."""
    source = TableFiles(TableFiles.Config(interactions_path=str(path)))
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        build_dataset(source, LeaveOneOut(LeaveOneOut.Config()), Path(cache))
        return sum(file.stat().st_size for file in Path(cache).rglob("*") if file.is_file())


def sort_with_polars(path: Path) -> int:
    """Read and sort the log, and keep it in memory."""
    import polars  # type: ignore[import-not-found]

    return len(polars.read_parquet(path).sort(KEYS))


def cost_of(side: str, path: Path, tiny: Path) -> dict[str, float]:
    """Return seconds and the highest resident bytes, less those before, of one build or sort."""
    work = build if side == "ours" else sort_with_polars
    work(tiny)
    reset_peak()
    before, cpu, began = resident("VmRSS"), time.process_time(), time.perf_counter()
    stored = work(path)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "bytes": resident("VmHWM") - before, "stored": stored}


def in_a_process(side: str, path: Path, tiny: Path) -> dict[str, float] | None:
    """Return `cost_of` of a new process; None without the library."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(cost_of, side, path, tiny).result()
        except ModuleNotFoundError:
            return None


def measure_build(row: Row, seed: int) -> Figures:
    """Build and sort alternately; return the bytes of an interaction, seconds, and ours over Polars."""
    num_rows = int(row.words[0])
    taken: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        path, tiny = Path(folder) / "log.parquet", Path(folder) / "tiny.parquet"
        make_log(path, num_rows)
        make_log(tiny, TINY)
        for number in range(3 if num_rows < 10_000_000 else 1):
            found = {
                side: in_a_process(side, path, tiny)
                for side in ("ours", "polars")[:: -1 if number % 2 else 1]
            }
            taken.append({side: each for side, each in found.items() if each is not None})
    medians = {key: statistics.median(each["ours"][key] for each in taken) for key in taken[0]["ours"]}
    figures = {
        "bytes_per_interaction": medians["bytes"] / num_rows,
        **{key: medians[key] for key in ("seconds", "cpu")},
    }
    for key in ("seconds", "cpu"):
        ratios = [each["ours"][key] / each["polars"][key] for each in taken if "polars" in each]
        figures |= {f"{key} over polars": statistics.median(ratios)} if ratios else {}
    return figures


# Exact masked top 100 in the shape of Gowalla, against plain blocks: matmul, -inf at the seen pairs, topk.
NUM_ITEMS, DIM, K, SEEN = 40_981, 64, 100, 27
PLAIN_BLOCKS, FEW = (128, 256, 512, 1024), 2048  # users to choose the block with
TOP_K = [
    Row(f"{kind} vectors, {users} users", (kind, users))
    for kind in ("even", "clustered")
    for users in ("4096", "29858")
]


def plain(
    users: torch.Tensor, items: torch.Tensor, seen: ExcludedPairs, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best items, as one would write it."""
    rows, scores = [], []
    for first in range(0, len(users), block):
        found = users[first : first + block] @ items.T
        begin, end = np.searchsorted(seen[0], [first, first + block])
        place = torch.from_numpy(seen[0][begin:end] - first), torch.from_numpy(seen[1][begin:end] - 1)
        found[place] = -torch.inf
        best = found.topk(K, dim=1)
        rows.append(best.indices + 1)
        scores.append(best.values)
    return torch.cat(rows).numpy(), torch.cat(scores).numpy()


def random_vectors(number: int, clustered: bool) -> torch.Tensor:
    """Return unit vectors [number, D]; those in 200 clusters have many similar scores."""
    drawn = torch.randn(number, DIM)
    if clustered:
        centres = torch.randn(200, DIM, generator=torch.Generator().manual_seed(1))
        drawn = 0.5 * drawn + centres[torch.randint(200, (number,))]
    return torch.nn.functional.normalize(drawn, dim=1)


@torch.inference_mode()
def measure_top_k(row: Row, seed: int) -> Figures:
    """Time both sides alternately; users have 27 seen items, few have many."""
    torch.manual_seed(0)
    generator, num_users = np.random.default_rng(0), int(row.words[1])
    counts = np.minimum(generator.geometric(1 / SEEN, num_users), 900)
    seen = np.repeat(np.arange(num_users), counts), generator.integers(1, NUM_ITEMS + 1, counts.sum())
    users, items = (random_vectors(number, row.words[0] == "clustered") for number in (num_users, NUM_ITEMS))
    few, taken = seen[0] < FEW, {}
    for block in PLAIN_BLOCKS:
        began = time.process_time()
        plain(users[:FEW], items, (seen[0][few], seen[1][few]), block)
        taken[block] = time.process_time() - began
    theirs = partial(plain, users, items, seen, min(taken, key=lambda size: taken[size]))
    reset_peak()
    before = resident("VmHWM")
    found = exact_top_k(users, items, K, seen)
    memory = (resident("VmHWM") - before) / 2**20
    assert (found[1] == theirs()[1]).all(), "not the scores of plain blocks"
    return {"memory_mib": memory} | wall_and_cpu(
        lambda: exact_top_k(users, items, K, seen), theirs, 3, warm_up=0
    )


# An id table with its optimizer state, in one process or divided between two (needs the extra torchrec).
NUM_ROWS, BATCH, STEPS = 5_000_000, 4_096, 40


def train_table(folder: Path) -> None:
    """Train a table for some steps, and write the figures of this process."""
    before = resident("RssAnon")
    encoder = LookupEncoder(NUM_ROWS, DIM, sparse=True, new_table=table_builder())
    table: Any = encoder.table
    optimizer = SparseRowwiseAdagrad([table.weight], 0.02)
    if isinstance(encoder.table, RowWiseTable):
        encoder.table.set_optimizer(optimizer)
    seconds, draws = [], torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randint(1, NUM_ROWS, (BATCH, 1), generator=draws)[rank() :: world_size()]
        began = time.perf_counter()
        optimizer.zero_grad()
        (encoder(rows) - 1).square().mean().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    encoder.eval()
    figures = {"eval_seconds": time.perf_counter() - began, "step_ms": 1000 * statistics.median(seconds)}
    figures |= {"private_gb_before": before / 1e9, "private_gb": resident("RssAnon") / 1e9}
    (folder / f"{rank()}.json").write_text(json.dumps(figures), encoding="utf-8")


def measure_table(row: Row, seed: int) -> Figures:
    """Train the table in some processes; return the figures of each."""
    size = int(row.words[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with processes(size, 1, partial(train_table, folder), folder):
            train_table(folder)
            while len(list(folder.glob("*.json"))) < size:
                time.sleep(0.1)
        return {
            path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
        }


TABLES = {
    "commands": Table("benchmarks.md", lambda: COMMANDS, measure_command, command="twotower train"),
    "data_build": Table("benchmarks.md", lambda: BUILDS, measure_build),
    "top_k": Table("benchmarks.md", lambda: TOP_K, measure_top_k),
    "row_wise_table": Table(
        "processes.md", lambda: [Row("1 process", ("1",)), Row("2 processes", ("2",))], measure_table
    ),
}
