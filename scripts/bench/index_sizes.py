"""Indexes of 1 and 10 million vectors: seconds, memory, bytes, recall and latency of the real commands.

    python scripts/bench/index_sizes.py make --items 1000000 --folder sizes
    python scripts/bench/index_sizes.py build --folder sizes --keys index=ivf_pq

`make` writes what `twotower embed` would write: item vectors of 64 dimensions in parts, and users. They are
drawn by a formula, in blocks: items lie around centres and have log-normal lengths; users are mixtures of
centres. `build` runs `twotower build_index` in another process and reads its memory from /proc: RssAnon, its
private memory, and VmHWM, which also counts mapped files. Then it times single queries of the index: after
its files were dropped from the page cache, and again. Figures are added to results/index_sizes.jsonl.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.files.shards import Shard
from twotower.index.index import Index

RESULTS = Path(__file__).parent / "results"
DIM, ROW_GROUP, NUM_CENTRES, NUM_USERS = 64, 2**17, 10_000, 400


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


def make(folder: Path, num_items: int, num_parts: int) -> None:
    """Write the parts of the items, and the users."""
    around, plan = centres(), {"command": "embed", "bundle": f"made-{num_items}", "part_rows": ROW_GROUP}
    (folder / "item_parts").mkdir(parents=True)
    users = table("user_id", 0, user_vectors(around), plan | {"side": "users"})
    pq.write_table(users, folder / "users.parquet", write_page_checksum=True)
    number = 0
    for shard in (Shard(each, num_parts) for each in range(1, num_parts + 1)):
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


def build(folder: Path, keys: list[str]) -> Iterator[dict[str, object]]:
    """Build an index; yields the figures of each command and of searches."""
    command = [sys.executable, "-m", "twotower", "build_index", f"parts={folder}/item_parts", *keys]
    out = folder / "index"
    shutil.rmtree(out, ignore_errors=True)
    final = [f"queries={folder}/users.parquet", f"out={out}"]
    yield {"step": "build", **measured([*command, *final])}
    report = json.loads((out / "report.json").read_text())["report"]
    names = ("num_vectors", "factory", "search_args", "recall_at_100", "bytes_per_item", "build_seconds")
    yield {"step": "report", **{name: report[name] for name in names}}
    words = [sys.executable, __file__, "search", "--folder", str(folder)]
    yield json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def search(folder: Path) -> dict[str, object]:
    """Time single queries after the files of the index were dropped from the page cache, and once more."""
    out = folder / "index"
    config = Index.Config.from_spec(json.loads((out / "report.json").read_text())["spec"], "index")
    for path in out.glob("index.*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    index, started = config.build(), time.perf_counter()
    index.load(out / "index.faiss")
    figures: dict[str, object] = {"step": "search", "load_seconds": time.perf_counter() - started}
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


def main() -> None:
    """Do what the first argument says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["make", "build", "search"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=16, help="parts of the vectors")
    parser.add_argument("--keys", nargs="*", default=["index=ivf_sq"], help="settings of the index")
    given = parser.parse_args()
    if given.what == "make":
        make(given.folder, given.items, given.parts)
    elif given.what == "search":
        print(json.dumps(search(given.folder)))
    else:
        for figures in build(given.folder, given.keys):
            line = json.dumps({"keys": " ".join(given.keys), **figures})
            print(line, flush=True)
            with (RESULTS / "index_sizes.jsonl").open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
