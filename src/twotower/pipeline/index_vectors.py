"""An index of the vectors of `twotower embed`, without the run.

Shapes: N items, S sampled users, K interests of a user, D embedding.
"""

import json
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.bundle.layout import INDEX, ITEMS
from twotower.bundle.write import versions
from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.evaluation.indexing import tuned_index
from twotower.files.atomic import write_text_atomically
from twotower.files.part_files import check_new, new_folder
from twotower.index.check import IndexReport, check, halves, tune
from twotower.index.ground_truth import RECALL_K, GroundTruth
from twotower.index.index import Index
from twotower.pipeline.index_shards import mergeable, merged_index, open_shards, open_sides, sampled_queries

LOG = logging.getLogger("twotower")
REPORT = "report.json"


def build_index(
    parts: Path,
    queries: Path | None,
    config: Index.Config,
    out: Path,
    on_disk: bool = False,
    shards: Path | None = None,
    command: str = "twotower build_index",
) -> int:
    """Build, tune and check an index of item vectors. Writes a new folder and returns the exit status.

    The folder has the Faiss index, the ids of the items, and `report.json`. The Faiss id of an item is its
    position in the ids, from 0. A rejected index is written, too.

    Args:
        parts: files of `twotower embed side=items`. Their vectors are copied into one temporary file next to
            `out`, which is memory-mapped.
        queries: files of `twotower embed side=users`, of which `NUM_SAMPLED` fit, tune and check the index;
            None samples item vectors instead.
        on_disk: write the inverted lists into a file of their own, which is searched memory-mapped.
        shards: folder of all shares of the index (`build_shard`), which are merged; None = build it.
        command: writes a share, without `out` and `shard`.

    Raises:
        InputError: the files are not complete or not of one run, or the settings do not fit the sizes.
    """
    started = time.perf_counter()
    check_new(out)
    items, users = open_sides(parts, queries)
    config.check_sizes(items.dim, items.num_rows)
    files: list[Path] = []
    if on_disk or shards:
        config = mergeable(config, items, "shards" if shards else "on_disk")
    users_to_tune, checking = sampled_queries(users, items)
    fitted, tuning = halves(users_to_tune)
    if shards:
        files = open_shards(items, config, shards, queries, fitted, command)
    with new_folder(out) as folder, tempfile.TemporaryFile(dir=folder) as file:
        with pq.ParquetWriter(folder / ITEMS, pa.schema([items.id_field])) as writer:
            items.copy_to(file, writer=writer)
        vectors = np.asarray(np.memmap(file, np.float32, "r", shape=(items.num_rows, items.dim)))
        rows = np.arange(items.num_rows)
        choice = None
        if on_disk or shards:
            index = merged_index(config, vectors, fitted, files, folder / INDEX, on_disk)
            points = tune(index, GroundTruth.search(vectors, rows, tuning, RECALL_K))
        else:
            index, points, choice = tuned_index(config, vectors, rows, users_to_tune)
        report = check(index, vectors, rows, checking, RECALL_K, points, choice)
        index.save(folder / INDEX)
        seconds = time.perf_counter() - started
        content = {
            "bundle": items.bundle,
            "queries": "users" if users else "items",
            "seconds": seconds,
            "spec": index.config.spec(),
            "report": report.to_dict(),
            "versions": versions(),
        }
        write_text_atomically(folder / REPORT, json.dumps(content, indent=2) + "\n")
    _announce(report, seconds, out)
    return DONE if report.ok else INDEX_REJECTED


def _announce(report: IndexReport, seconds: float, out: Path) -> None:
    search = "".join(f" {name}={value}" for name, value in report.search_args.items())
    print(
        f"{'ok' if report.ok else 'rejected'}  {report.num_vectors:,} items, {report.type}{search}, recall@"
        f"{report.recall_k} {report.recall_at_100:.4f}, {report.latency_ms_p50:.3f} ms, "
        f"{report.bytes_per_item:.0f} bytes per item, {seconds:.1f} s  {out}"
    )
    for problem in report.problems:
        LOG.warning("index: %s", problem)
