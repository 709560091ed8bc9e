"""Indexes of 1, 10 and 100 million vectors: seconds, memory, bytes, recall and latency of the real commands.

    python scripts/bench/index_sizes.py make --items 1000000 --folder sizes      (100 million: 13 GB)
    python scripts/bench/index_sizes.py build --folder sizes --way disk --keys index=ivf_pq

`make` writes what `twotower embed` would write: item vectors of 64 dimensions in parts, and users. Blocks are drawn
from a formula, so the same block is the same on any machine: items lie around centres and have log-normal
lengths; users are mixtures of centres. `build` runs `twotower build_index` in another process and reads its
memory from /proc: RssAnon, the memory of its own, and VmHWM, which also counts mapped files. Then it times
single queries of the index: after its files were dropped from the page cache, and again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.files.shards import Shard

DIM, ROW_GROUP, NUM_CENTRES, NUM_USERS = 64, 2**17, 10_000, 400


def centres() -> np.ndarray:
    """Return the centres of the clusters, float32 [C, D]: mixtures of 32 directions."""
    random = np.random.default_rng(7)
    directions = random.standard_normal((32, DIM))
    weights = random.gamma(0.3, size=(NUM_CENTRES, 32)) * random.choice([-1, 1], (NUM_CENTRES, 32))
    drawn = weights @ directions
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def item_block(number: int, size: int, around: np.ndarray) -> np.ndarray:
    """Return the vectors of one row group, float32 [n, D] with values of half precision."""
    random = np.random.default_rng([11, number])
    popularity = (NUM_CENTRES * random.random(size, dtype=np.float32) ** 2).astype(np.int64)
    lengths = np.exp(0.35 * random.standard_normal((size, 1), dtype=np.float32))
    vectors = around[popularity] + 0.04 * random.standard_normal((size, DIM), dtype=np.float32)
    return np.asarray((vectors * lengths).astype(np.float16).astype(np.float32))


def user_vectors(around: np.ndarray) -> np.ndarray:
    """Return the vectors of users, float32 [Q, D]: the sum of three centres, and noise."""
    random = np.random.default_rng(13)
    chosen = random.integers(0, NUM_CENTRES, (NUM_USERS, 3))
    mixed = (around[chosen] * np.array([[[1.0], [0.6], [0.3]]])).sum(axis=1)
    return (4 * mixed + 0.2 * random.standard_normal((NUM_USERS, DIM))).astype(np.float32)


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
        path, schema = folder / "item_parts" / shard.file_name, table("item_id", 0, np.zeros((1, DIM), np.float32), facts).schema
        with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
            for first in range(rows.start, rows.stop, ROW_GROUP):
                block = item_block(number, min(ROW_GROUP, rows.stop - first), around)
                writer.write_table(table("item_id", first, block, facts), ROW_GROUP)
                number += 1


if __name__ == "__main__":
    a = argparse.ArgumentParser(); a.add_argument("what"); a.add_argument("--folder", type=Path); a.add_argument("--items", type=int); a.add_argument("--parts", type=int, default=16)
    g = a.parse_args()
    t = time.time(); make(g.folder, g.items, g.parts); print(time.time() - t)
