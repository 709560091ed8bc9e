"""Costs of indexes: against raw Faiss made by the same factory string, and of 1 and 10 million vectors.

`index`: unit vectors of 64 dimensions, k = 100; a batch is 256 queries, then single queries on one thread.
Both sides have the ids and the search arguments of ours, and must find the same.

`index_sizes`: item vectors in parts and users, as `twotower embed` writes them, drawn by a formula in blocks:
items lie around centres and have log-normal lengths; users are mixtures of centres. `twotower build_index`
runs in another process, whose memory is read from /proc: RssAnon, its private memory, and VmHWM, which also
counts mapped files. Then single queries are timed: after the files of the index were dropped from the page
cache, and again.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from record import OUTPUTS, Figures, Row, Table, pairs, wall_and_cpu
from vectors import unit

from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.files.shards import Shard
from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index.tune import single_thread

DIM, K, NUM_VECTORS, NUM_QUERIES, NUM_SINGLE = 64, 100, 200_000, 256, 100
PROBES, PAIRS = 8, 5
BUILDS = {"flat": 9, "ivf_flat": 3, "ivf_pq": 1, "ivf_sq": 3}  # pairs
KINDS: dict[str, tuple[type[Index], str]] = {
    "flat": (FlatIP, "IDMap,Flat"),
    "ivf_flat": (IVFFlat, "IVF{},Flat"),
    "ivf_pq": (IVFPQ, "IVF{},PQ32x8np"),
    "ivf_sq": (IVFSQ, "IVF{},SQfp16"),
}


def raw(factory: str, like: Index, vectors: np.ndarray, rows: np.ndarray) -> Any:
    """Build as one would with Faiss alone, k-means as ours is."""
    nlist = like.build_args.get("nlist", 0)
    made: Any = faiss.index_factory(DIM, factory.format(nlist), faiss.METRIC_INNER_PRODUCT)
    if nlist:
        for clustering in [made.cp] + ([made.pq.cp] if "PQ" in factory else []):
            clustering.seed, clustering.min_points_per_centroid = 1234, 1
        made.cp.spherical = False
        made.quantizer.metric_type = faiss.METRIC_L2
    made.train(vectors)
    made.add_with_ids(vectors, rows)
    if nlist:
        made.quantizer.metric_type = faiss.METRIC_INNER_PRODUCT
    return made


def measure_kind(row: Row, seed: int) -> Figures:
    """Time both sides of one kind alternately: batches, single queries, and building by processor time."""
    (kind, factory), name = KINDS[row.name], row.name
    vectors, queries = unit(NUM_VECTORS, 0), unit(NUM_QUERIES, 1)
    rows = np.arange(1, len(vectors) + 1)

    def build() -> Index:
        index = kind.Config().for_size(len(vectors)).build()
        index.build(vectors, rows)
        return index

    ours = build()
    theirs = raw(factory, ours, vectors, rows)
    if ours.search_args:
        ours.set_search_args({"nprobe": PROBES})
        theirs.nprobe = PROBES
    found, (scores, ids) = ours.search(queries, K), theirs.search(queries, K)
    assert (found.rows == ids).all(), "other rows than raw Faiss finds"
    assert (found.scores == scores)[ids >= 0].all(), "other scores than raw Faiss finds"
    one = [query[None] for query in queries[:NUM_SINGLE]]
    figures: Figures = {
        "batch": wall_and_cpu(partial(ours.search, queries, K), partial(theirs.search, queries, K), PAIRS)
    }
    with single_thread():
        figures["single"] = wall_and_cpu(
            lambda: [ours.search(query, K) for query in one],
            lambda: [theirs.search(query, K) for query in one],
            PAIRS,
        )
    other = partial(raw, factory, ours, vectors, rows)
    figures["build"] = {"cpu": pairs(build, other, BUILDS[name], 0, time.process_time)}
    return figures


ROW_GROUP, NUM_CENTRES, NUM_USERS, NUM_PARTS = 2**17, 10_000, 400, 16


def centres() -> np.ndarray:
    """Return the centres of the clusters, float32 [C, D]: mixtures of 32 directions."""
    random = np.random.default_rng(7)
    directions = random.standard_normal((32, DIM))
    weights = random.gamma(0.3, size=(NUM_CENTRES, 32)) * random.choice([-1, 1], (NUM_CENTRES, 32))
    drawn = weights @ directions
    unit: np.ndarray = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit


def item_block(number: int, size: int, around: np.ndarray) -> np.ndarray:
    """Return the vectors of one row group, float32 [n, D] with values of half precision."""
    random = np.random.default_rng([11, number])
    popularity = (NUM_CENTRES * random.random(size, dtype=np.float32) ** 2).astype(np.int64)
    lengths = np.exp(0.35 * random.standard_normal((size, 1), dtype=np.float32))
    vectors = around[popularity] + 0.04 * random.standard_normal((size, DIM), dtype=np.float32)
    rounded: np.ndarray = (vectors * lengths).astype(np.float16).astype(np.float32)
    return rounded


def user_vectors(around: np.ndarray) -> np.ndarray:
    """Return the vectors of users, float32 [Q, D]: the sum of three centres, and noise."""
    random = np.random.default_rng(13)
    chosen = random.integers(0, NUM_CENTRES, (NUM_USERS, 3))
    mixed = (around[chosen] * np.array([[[1.0], [0.6], [0.3]]])).sum(axis=1)
    drawn: np.ndarray = (4 * mixed + 0.2 * random.standard_normal((NUM_USERS, DIM))).astype(np.float32)
    return drawn


def table(name: str, first: int, vectors: np.ndarray, plan: dict[str, object]) -> pa.Table:
    """Return a table as `twotower embed` writes it."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    made = pa.table({name: np.arange(first, first + len(vectors)), "vector": values})
    return made.replace_schema_metadata({b"twotower": json.dumps(plan)})


def make(folder: Path, num_items: int) -> None:
    """Write the parts of the items, and the users."""
    around, plan = centres(), {"command": "embed", "bundle": f"made-{num_items}", "part_rows": ROW_GROUP}
    (folder / "item_parts").mkdir(parents=True)
    users = table("user_id", 0, user_vectors(around), plan | {"side": "users"})
    pq.write_table(users, folder / "users.parquet", write_page_checksum=True)
    number = 0
    for shard in (Shard(each, NUM_PARTS) for each in range(1, NUM_PARTS + 1)):
        rows = shard.positions(num_items)
        facts = plan | {"side": "items", "shard": str(shard)}
        path = shard.part(folder / "item_parts")
        schema = table("item_id", 0, np.zeros((1, DIM), np.float32), facts).schema
        with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
            for first in range(rows.start, rows.stop, ROW_GROUP):
                block = item_block(number, min(ROW_GROUP, rows.stop - first), around)
                writer.write_table(table("item_id", first, block, facts), ROW_GROUP)
                number += 1


def measured(words: Sequence[str]) -> dict[str, float]:
    """Run a command; returns its seconds, those of its CPU, and the most memory, in MB."""
    started, most = time.perf_counter(), {"RssAnon": 0, "VmHWM": 0}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(words, stdout=sys.stderr) as process:
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                continue
            values = dict(line.split(":", 1) for line in lines)
            most = {name: max(kb, int(values.get(name, "0").split()[0])) for name, kb in most.items()}
            time.sleep(0.1)
    if process.returncode not in (DONE, INDEX_REJECTED):
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds}
    return figures | {f"{name}_mb": kb / 1024 for name, kb in most.items()}


def measure_size(row: Row, seed: int) -> Figures:
    """Build an index with a command; return its figures and those of searches."""
    num_items, *keys = row.words
    folder = OUTPUTS / "index_sizes" / num_items
    if not folder.is_dir():
        make(folder, int(num_items))
    out = folder / "index"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "twotower", "build_index", f"parts={folder}/item_parts", *keys]
    final = [f"queries={folder}/users.parquet", f"out={out}"]
    figures: Figures = {"build": measured([*command, *final])}
    report = json.loads((out / "report.json").read_text())["report"]
    names = ("num_vectors", "factory", "search_args", "recall_at_100", "bytes_per_item", "build_seconds")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        searched = pool.submit(search, folder, out).result()
    return figures | {"report": {name: report[name] for name in names}, "search": searched}


def search(folder: Path, out: Path) -> dict[str, float]:
    """Time single queries after the files of the index were dropped from the page cache, and once more."""
    config = Index.Config.from_spec(json.loads((out / "report.json").read_text())["spec"], "index")
    for path in out.glob("index.*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    index, started = config.build(), time.perf_counter()
    index.load(out / "index.faiss")
    figures = {"load_seconds": time.perf_counter() - started}
    users = pq.read_table(folder / "users.parquet")["vector"].combine_chunks().flatten()
    queries = users.to_numpy().reshape(-1, DIM)
    for name in ("cold", "warm"):
        times = []
        for query in queries:
            started = time.perf_counter()
            index.search(query[None], 100)
            times.append(1000 * (time.perf_counter() - started))
        p50, p99 = np.percentile(times, [50, 99])
        figures |= {f"{name}_ms_p50": p50, f"{name}_ms_p99": p99}
    values = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return figures | {f"{name}_mb": int(values[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


SIZES = [
    Row("1 M ivf_sq", ("1000000", "index=ivf_sq", "index.target_recall=0.95", "index.nlist=1000")),
    Row(
        "10 M ivf_sq", ("10000000", "index=ivf_sq", "index.target_recall=0.95", "index.nlist=1024"), minutes=5
    ),
]
TABLES = {
    "index": Table("benchmarks.md", lambda: [Row(kind) for kind in KINDS], measure_kind),
    "index_sizes": Table("vectors.md", lambda: SIZES, measure_size),
}
