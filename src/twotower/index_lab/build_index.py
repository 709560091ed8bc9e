"""An index of the vectors of `twotower embed`, without the run.

Shapes: N items, S sampled users, D embedding.
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
from twotower.bundle.vector_files import VectorFiles
from twotower.bundle.write import versions
from twotower.config.errors import InputError
from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.evaluation.indexing import tuned_index
from twotower.files.atomic import write_text_atomically
from twotower.files.part_files import check_new, new_folder
from twotower.index.check import IndexReport, check
from twotower.index.ground_truth import RECALL_K, evenly_spaced
from twotower.index.index import Index

LOG = logging.getLogger("twotower")
REPORT = "report.json"
NUM_SAMPLED = 2_000
"""Number of users that are read as queries: half of them fit and tune the index, the rest measure it."""


def build_index(
    parts: Path,
    queries: Path | None,
    config: Index.Config,
    out: Path,
) -> int:
    """Build, tune and check an index of item vectors. Writes a new folder and returns the exit status.

    The folder has the Faiss index, the ids of the items, and `report.json`. The Faiss id of an item is its
    position in the ids, from 0. A rejected index is written, too.

    Args:
        parts: files of `twotower embed side=items`. Their vectors are copied into one temporary file next to
            `out`, which is memory-mapped.
        queries: files of `twotower embed side=users`; `NUM_SAMPLED` users fit, tune and check the index;
            None samples item vectors instead.

    Raises:
        InputError: the files are not complete or not of one run, or the settings do not fit the sizes.
    """
    started = time.perf_counter()
    check_new(out)
    items = VectorFiles.open("parts", parts, "items")
    users = VectorFiles.open("queries", queries, "users") if queries else None
    if users and users.bundle != items.bundle:
        raise InputError(f"queries={queries}: of another run than parts={parts}; embed both sides of one run")
    config.check_sizes(items.dim, items.num_rows)
    users_to_tune, checking = sampled_queries(users, items)
    with new_folder(out) as folder, tempfile.TemporaryFile(dir=folder) as file:
        with pq.ParquetWriter(folder / ITEMS, pa.schema([items.id_field])) as writer:
            items.copy_to(file, writer)
        vectors = np.asarray(np.memmap(file, np.float32, "r", shape=(items.num_rows, items.dim)))
        rows = np.arange(items.num_rows)
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


def sampled_queries(users: VectorFiles | None, items: VectorFiles) -> tuple[np.ndarray, np.ndarray]:
    """Return users [Q, D] that fit and tune an index, and others that check it.

    Items take their place if there are none.
    """
    if users is None:
        LOG.warning(
            "queries: not set, so item vectors take the place of users; recall for users can differ. Set "
            "queries to the output of: twotower embed run=RUN side=users out=USERS"
        )
    files = users or items
    sample = files.at(evenly_spaced(files.num_rows, NUM_SAMPLED))
    checking = sample[1::2] if len(sample) > 1 else sample
    return sample[::2], checking


def _announce(report: IndexReport, seconds: float, out: Path) -> None:
    search = "".join(f" {name}={value}" for name, value in report.search_args.items())
    print(
        f"{'ok' if report.ok else 'rejected'}  {report.num_vectors:,} items, {report.type}{search}, recall@"
        f"{report.recall_k} {report.recall_at_100:.4f}, {report.latency_ms_p50:.3f} ms, "
        f"{report.bytes_per_item:.0f} bytes per item, {seconds:.1f} s  {out}"
    )
    for problem in report.problems:
        LOG.warning("index: %s", problem)
