"""Recall@100 against queries per second: `index=auto`, the best of a grid of ours, and other libraries.

`vectors.py` makes the vectors. Indexes of ours fit users that are not measured. Queries per second are
measured on one thread, by processor time: the best of three batches of 1,000 queries. `hnswlib` and
`scann` are installed separately. autofaiss needs another Faiss: `AUTOFAISS_PYTHON` names a Python with it.
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
from record import Figures, Line, Row, Table, markdown
from vectors import TOWERS, enlarged

from twotower.evaluation.indexing import tuned_index
from twotower.index.auto import Auto
from twotower.index.centroids import count_found, find_centroids
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq_fastscan import IVFPQFastScan
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index.tune import latency_ms, search_grid

K, NUM_QUERIES, REPEATS, THREADS, ROUNDS = 100, 1000, 3, 1, 5
TARGETS, NLISTS = (0.9, 0.95, 0.99), (500, 1000, 2000, 4000)
BUDGETS = (48, 144, 272)
"""Bytes per item: codes, half-precision vectors, and full ones with what an index adds."""
AUTOFAISS = """
import sys, autofaiss, faiss, numpy
items, out, megabytes, threads = sys.argv[1:]
faiss.omp_set_num_threads(int(threads))
index, _ = autofaiss.build_index(
    numpy.load(items), save_on_disk=False, metric_type="ip", max_index_memory_usage=megabytes,
    current_memory_available="8GB", max_index_query_time_ms=10, nb_cores=int(threads))
faiss.write_index(index, out)
"""
Search = Callable[..., Any]


class Vectors:
    """Items [N, D], queries [Q, D] with the scores of their K-th best items, and other users."""

    def __init__(self, name: str, number: int) -> None:
        faiss.omp_set_num_threads(THREADS)
        self.folder, self.items, users = enlarged(name)
        self.items = self.items[:number]
        positions = np.linspace(0, len(users) - 1, NUM_QUERIES).astype(int)
        self.queries, self.others = users[positions], np.delete(users, positions, axis=0)
        scores = [
            faiss.knn(part, self.items, K, metric=faiss.METRIC_INNER_PRODUCT)[0][:, -1]
            for part in np.array_split(self.queries, 20)
        ]
        self.least = np.concatenate(scores)

    def recall(self, rows: np.ndarray) -> float:
        """Return the share of the K results [Q, K] whose score reaches the K-th best; ties count."""
        hits = 0
        for query, lowest, found in zip(self.queries, self.least, rows, strict=True):
            found = np.unique(found[found >= 0])
            hits += int((self.items[found] @ query >= lowest - 1e-5 * abs(lowest)).sum())
        return hits / (K * len(self.queries))

    def timed(self, search: Search, *more: Any) -> tuple[Any, float]:
        """Return what a search finds, and queries per second of processor time."""
        best, rows = np.inf, search(self.queries, K, *more)
        for _ in range(REPEATS):
            started = time.process_time()
            search(self.queries, K, *more)
            best = min(best, time.process_time() - started)
        return rows, NUM_QUERIES / best

    def in_turn(self, search: Search, other: Search) -> Figures:
        """Return medians of the queries per second of two searches and of their ratio, timed alternately."""
        rates = [(self.timed(search)[1], self.timed(other)[1]) for _ in range(ROUNDS)]
        ratio = statistics.median(own / others for own, others in rates)
        own, others = (statistics.median(each) for each in zip(*rates, strict=True))
        return {"rate": own, "rate of other": others, "ratio": ratio}

    def auto(self, target: float, bytes_per_item: int | None = None) -> tuple[Any, Any]:
        """Return the index that `index=auto` chooses for a recall, and its choice."""
        config = Auto.Config(target_recall=target, min_recall=0.1, max_bytes_per_item=bytes_per_item)
        index, _, choice = tuned_index(config, self.items, np.arange(len(self.items)), self.others)
        return index, choice


def stored_bytes(index: Any) -> float:
    """Return the bytes per item of the file of an index of ours."""
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        return (Path(folder) / "index").stat().st_size / len(index.rows)


def measure_auto(vectors: Vectors, target: float) -> Figures:
    """Measure what `index=auto` chooses for a recall, next to its predictions; keep the index."""
    index, choice = vectors.auto(target)
    index.save(vectors.folder / f"auto-{target}.faiss")
    chosen = choice.candidates[0]
    found, rate = vectors.timed(index.search)
    return {
        "setting": chosen.name,
        "search": str(index.search_args),
        "recall": vectors.recall(found.rows),
        "rate": rate,
        "latency": latency_ms(index, vectors.queries, K)[0],
        "bytes": stored_bytes(index),
        "build": index.build_seconds,
        "measuring": choice.seconds,
        "num_sampled": choice.num_sampled,
        "predicted": {
            "search": str(chosen.search_args),
            "recall": chosen.recall,
            "rate": chosen.queries_per_second,
            "latency": chosen.latency_ms,
            "bytes": chosen.bytes_per_item,
            "build": chosen.build_seconds,
        },
    }


def beside_auto(vectors: Vectors, settings: Sequence[tuple[Figures, Callable[[], Search]]]) -> Figures:
    """Return for each target the fastest setting that reaches it, timed alternately with `auto`."""
    figures: Figures = {}
    for target in TARGETS:
        reached = [each for each in settings if each[0]["recall"] >= target]
        if not reached:
            figures[str(target)] = None
            continue
        found, make = max(reached, key=lambda each: float(each[0]["rate"]))
        path = vectors.folder / f"auto-{target}.faiss"
        if not path.is_file():
            measure_auto(vectors, target)
        auto = faiss.read_index(str(path))
        timed = vectors.in_turn(auto.search, make())
        figures[str(target)] = found | {"rate": timed["rate of other"], "ratio": timed["ratio"]}
        figures[str(target)]["auto"] = {
            "recall": vectors.recall(auto.search(vectors.queries, K)[1]),
            "rate": timed["rate"],
        }
    return figures


def measure_grid(vectors: Vectors) -> Figures:
    """Measure kinds of IVF with several numbers of clusters, which fit other users or the items alone."""
    settings: list[tuple[Figures, Callable[[], Search]]] = []
    for nlist, is_fitted in itertools.product(NLISTS, (True, False)):
        items = vectors.items
        weights = count_found(items, vectors.others, len(items)) if is_fitted else None
        centroids = find_centroids(items, nlist, weights)
        candidates = IVFPQFastScan.Config(nlist=nlist, num_candidates=2, min_recall=0.5)
        for config in (
            IVFSQ.Config(nlist=nlist),
            IVFFlat.Config(nlist=nlist),
            candidates,
            IVFPQFastScan.Config(nlist=nlist),
        ):
            index, known = _built(config, items, centroids), [0.0, 0.0]
            size = stored_bytes(index)
            for search_args in search_grid(index):
                index.set_search_args(search_args)
                found, rate = vectors.timed(index.search)
                known.append(vectors.recall(found.rows))
                setting = f"{index.kind} {index.build_args} {search_args}{' plain' * (not is_fitted)}"
                figures = {
                    "setting": setting,
                    "recall": known[-1],
                    "rate": rate,
                    "bytes": size,
                    "build": index.build_seconds,
                }
                settings.append((figures, partial(_search_of, config, items, centroids, search_args)))
                if known[-1] > max(TARGETS) or known[-1] - known[-3] < 0.001:
                    break
    return beside_auto(vectors, settings)


def _built(config: Any, items: np.ndarray, centroids: np.ndarray) -> Any:
    index = config.build()
    index.centroids = centroids
    index.build(items, np.arange(len(items)))
    return index


def _search_of(config: Any, items: np.ndarray, centroids: np.ndarray, search_args: Any) -> Search:
    index = _built(config, items, centroids)
    index.set_search_args(search_args)
    search: Search = index.search
    return search


def measure_scann(vectors: Vectors) -> Figures:
    """Measure ScaNN's tree with asymmetric hashing and reordering: 165 settings."""
    import scann

    settings: list[tuple[Figures, Callable[[], Search]]] = []
    for leaves in (1000, 2000, 4000):
        started, dim = time.perf_counter(), vectors.items.shape[1]
        searcher = (
            scann.scann_ops_pybind.builder(vectors.items, K, "dot_product")
            .tree(num_leaves=leaves, num_leaves_to_search=64, training_sample_size=250_000)
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(400)
            .build()
        )
        seconds = time.perf_counter() - started
        for probed, reordered in itertools.product(
            (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128), (150, 200, 300, 400, 800)
        ):
            search: Search = partial(
                searcher.search_batched, pre_reorder_num_neighbors=reordered, leaves_to_search=probed
            )
            found, rate = vectors.timed(search)
            setting = f"{leaves} leaves, {probed} searched, {reordered} reordered"
            recall = vectors.recall(found[0].astype(np.int64))
            figures = {
                "setting": setting,
                "recall": recall,
                "rate": rate,
                "bytes": dim * 4.25,
                "build": seconds,
            }
            settings.append((figures, lambda search=search: search))  # type: ignore[misc]
    return beside_auto(vectors, settings)


def measure_hnswlib(vectors: Vectors) -> Figures:
    """Measure a graph of hnswlib."""
    import hnswlib

    index, started = hnswlib.Index("ip", vectors.items.shape[1]), time.perf_counter()
    index.init_index(len(vectors.items), M=32, ef_construction=100)
    index.add_items(vectors.items, num_threads=THREADS)
    figures: Figures = {"build": time.perf_counter() - started}
    with tempfile.TemporaryDirectory() as folder:
        index.save_index(f"{folder}/index")
        figures["bytes"] = Path(folder, "index").stat().st_size / len(vectors.items)
    for effort in (100, 200, 400, 800):
        index.set_ef(effort)
        found, rate = vectors.timed(index.knn_query, THREADS)
        figures[f"ef={effort}"] = {"recall": vectors.recall(found[0].astype(np.int64)), "rate": rate}
    return figures


def measure_autofaiss(vectors: Vectors, bytes_per_item: int) -> Figures:
    """Build what autofaiss chooses within some bytes per item, and ours within these bytes for its recall."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/items.npy", vectors.items)
        python, started = os.environ.get("AUTOFAISS_PYTHON", sys.executable), time.perf_counter()
        limit = f"{bytes_per_item * len(vectors.items) / 1e6:.0f}MB"
        words = [python, "-c", AUTOFAISS, f"{folder}/items.npy", f"{folder}/index", limit, str(THREADS)]
        subprocess.run(words, check=True, stdout=sys.stderr)
        seconds, size = time.perf_counter() - started, Path(folder, "index").stat().st_size
        theirs = faiss.read_index(f"{folder}/index")
    target = vectors.recall(theirs.search(vectors.queries, K)[1])
    ours, choice = vectors.auto(target, bytes_per_item)
    timed = vectors.in_turn(ours.search, theirs.search)
    return {
        "setting": f"{choice.candidates[0].name} {ours.search_args}",
        "recall": vectors.recall(ours.search(vectors.queries, K).rows),
        "rate": timed["rate"],
        "bytes": stored_bytes(ours),
        "build": ours.build_seconds,
        "measuring": choice.seconds,
        "autofaiss": {
            "recall": target,
            "rate": timed["rate of other"],
            "bytes": size / len(vectors.items),
            "build": seconds,
        },
        "ratio": timed["ratio"],
    }


def rows() -> list[Row]:
    """Return the rows of each set of vectors and library."""
    found = [
        Row(f"{name} auto {target}", (name, "auto", str(target)), minutes=5)
        for name in TOWERS
        for target in TARGETS
    ]
    found += [
        Row(f"{name} {library}", (name, library), minutes=40)
        for name in TOWERS
        for library in ("grid", "scann")
    ]
    found += [Row("Shop hnswlib", ("Shop", "hnswlib"), minutes=10)]
    found += [
        Row(f"Shop 50,000 autofaiss {size}", ("Shop", "autofaiss", str(size), "50000"), minutes=10)
        for size in BUDGETS
    ]
    return [*found, Row("Shop autofaiss 144", ("Shop", "autofaiss", "144"), minutes=20)]


def measure(row: Row, seed: int) -> Figures:
    """Measure a library on a set of vectors."""
    name, library, *more = row.words
    vectors = Vectors(name, int(more[1]) if len(more) > 1 else 10**9)
    if library == "auto":
        return measure_auto(vectors, float(more[0]))
    if library == "autofaiss":
        return measure_autofaiss(vectors, int(more[0]))
    measures = {"grid": measure_grid, "scann": measure_scann, "hnswlib": measure_hnswlib}
    return measures[library](vectors)


def _figures(lines: Sequence[Line]) -> Iterator[dict[str, Any]]:
    for line in lines:
        nested = {
            key: each for key, each in line.figures.items() if isinstance(each, dict) and "rate" in each
        }
        of_row = {"": line.figures} if "setting" in line.figures else nested
        for key, each in of_row.items():
            other = each.get("auto") or each.get("autofaiss") or {}
            yield {
                "row": f"{line.row} {key}".strip(),
                "setting": each.get("setting", ""),
                "recall": f"{each['recall']:.4f}",
                "queries/s": f"{each['rate']:,.0f}",
                "bytes": f"{each.get('bytes', line.figures.get('bytes', 0)):.0f}",
                "ratio": f"{each['ratio']:.2f}" if "ratio" in each else "",
                "other": f"{other['recall']:.4f}, {other['rate']:,.0f}" if other else "",
                "predicted": str(each.get("predicted", "")),
            }


TABLES = {
    "index_peers": Table("index-lab.md", rows, measure, lambda lines: markdown(pd.DataFrame(_figures(lines))))
}
