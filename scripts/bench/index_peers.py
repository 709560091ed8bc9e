"""Recall against queries per second of our indexes, `index=auto` and other libraries on the same vectors.

    python scripts/bench/index_peers.py auto name=retail folder=vec/retail       (minutes, a quiet core)
    python scripts/bench/index_peers.py grid name=retail folder=vec/retail       (after auto)
    python scripts/bench/index_peers.py scann name=retail folder=vec/retail      (after auto; needs scann)
    python scripts/bench/index_peers.py equal_bytes name=retail folder=vec/retail    (after autofaiss)
    python scripts/bench/index_peers.py table

The folder is that of `enlarge.py`. `hnswlib` and `autofaiss` can run in environments of their own, which do
not need twotower; `scann` also needs faiss. Indexes of ours fit users that are not measured. Queries per
second are those of one thread, by processor time, the best of three batches of 1,000 queries; k = 100. A run
appends lines to `results/index_peers.jsonl`; `table` reads them.
"""

import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "index_peers.jsonl"
K, NUM_QUERIES, REPEATS, THREADS, ROUNDS = 100, 1000, 3, 1, 5
TARGETS = (0.9, 0.95, 0.99)
BUDGETS = (48, 144, 272)
"""Bytes per item: codes, half-precision vectors, and full ones with what an index adds."""
CELLS = (500, 1000, 2000, 4000)
Line = dict[str, Any]


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return items [N, D], queries [Q, D], the scores [Q] of their K-th best items, and other users."""
    items, users = (np.load(folder / name, allow_pickle=False) for name in ("items.npy", "users.npy"))
    positions = np.linspace(0, len(users) - 1, NUM_QUERIES).astype(int)
    queries, others = users[positions], np.delete(users, positions, axis=0)
    path = folder / "least_scores.npy"
    if not path.is_file():
        scores = np.concatenate([exact_scores(items, part) for part in np.array_split(queries, 20)])
        np.save(path, scores)
    return items, queries, np.load(path, allow_pickle=False), others


def exact_scores(items: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the K-th best score of each query."""
    found: np.ndarray = np.partition(queries @ items.T, len(items) - K, axis=1)[:, len(items) - K]
    return found


def recall(items: np.ndarray, queries: np.ndarray, least: np.ndarray, rows: np.ndarray) -> float:
    """Return the share of the K results whose score reaches the K-th best; ties count."""
    hits = 0
    for query, lowest, found in zip(queries, least, rows, strict=True):
        found = np.unique(found[found >= 0])
        hits += int((items[found] @ query >= lowest - 1e-5 * abs(lowest)).sum())
    return hits / (K * len(queries))


def timed(search: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return what a search finds, and queries per second of processor time."""
    best, rows = np.inf, search(*arguments)
    for _ in range(REPEATS):
        started = time.process_time()
        search(*arguments)
        best = min(best, time.process_time() - started)
    return rows, NUM_QUERIES / best


def in_turn(
    search: Callable[..., Any], other: Callable[..., Any], queries: np.ndarray
) -> tuple[Any, Any, Line]:
    """Return what two searches find, and medians of their queries per second and of the ratio, in turn."""
    rounds = [(timed(search, queries, K), timed(other, queries, K)) for _ in range(ROUNDS)]
    rates = [(rate, rate_of_other) for (_, rate), (_, rate_of_other) in rounds]
    (found, _), (found_by_other, _) = rounds[-1]
    figures = {
        "rate": statistics.median(rate for rate, _ in rates),
        "rate of other": statistics.median(rate for _, rate in rates),
        "ratio": statistics.median(rate / rate_of_other for rate, rate_of_other in rates),
    }
    return found, found_by_other, figures


def stored_bytes(index: Any) -> float:
    """Return the bytes per item of the file of an index of ours."""
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        return (Path(folder) / "index").stat().st_size / len(index.rows)


def configs(nlist: int) -> list[Any]:
    """Return the kinds in cells that the grid measures with a number of cells."""
    from twotower.index.kinds.ivf_flat import IVFFlat
    from twotower.index.kinds.ivf_pq_fastscan import IVFPQFastScan
    from twotower.index.kinds.ivf_sq import IVFSQ

    return [
        IVFSQ.Config(nlist=nlist),
        IVFFlat.Config(nlist=nlist),
        IVFPQFastScan.Config(nlist=nlist, num_candidates=2, min_recall=0.5),
        IVFPQFastScan.Config(nlist=nlist),
    ]


def centroids_of(items: np.ndarray, nlist: int, others: np.ndarray | None) -> np.ndarray:
    """Return the centroids of cells that fit users, or those of plain k-means."""
    from twotower.index.centroids import count_found, find_centroids

    return find_centroids(items, nlist, None if others is None else count_found(items, others, len(items)))


def built(config: Any, items: np.ndarray, centroids: np.ndarray) -> Any:
    """Build an index in cells around centroids."""
    index = config.build()
    index.centroids = centroids
    index.build(items, np.arange(len(items)))
    return index


def grid(
    folder: Path, others: np.ndarray, items: np.ndarray, queries: np.ndarray, least: np.ndarray
) -> Iterator[Line]:
    """Measure kinds in cells with several numbers of cells, which fit other users or the items alone.

    Then measure the fastest of them that reaches a target in turn with the index that `auto` kept.
    """
    import faiss

    from twotower.index.tune import search_grid

    faiss.omp_set_num_threads(THREADS)
    lines: list[tuple[Line, Any]] = []
    found_centroids = {}
    for cells in itertools.product(CELLS, (True, False)):
        nlist, is_fitted = cells
        found_centroids[cells] = centroids_of(items, nlist, others if is_fitted else None)
        for config in configs(nlist):
            index = built(config, items, found_centroids[cells])
            size, known = stored_bytes(index), [0.0, 0.0]
            for search_args in search_grid(index):
                index.set_search_args(search_args)
                found, rate = timed(index.search, queries, K)
                known.append(recall(items, queries, least, found.rows))
                line = {
                    "setting": f"{index.kind} {index.build_args} {search_args}{' plain' * (not is_fitted)}",
                    "cells": cells,
                    "search": search_args,
                    "recall": known[-1],
                    "rate": rate,
                    "bytes": size,
                    "build": index.build_seconds,
                }
                lines.append((line, config))
                yield line
                if known[-1] > max(TARGETS) or known[-1] - known[-3] < 0.001:
                    break
    for target, line, config in best(lines):
        index = built(config, items, found_centroids[line["cells"]])
        index.set_search_args(line["search"])
        yield in_turn_with_auto(folder, target, line, index.search, items, queries, least)


def best(lines: list[tuple[Line, Any]]) -> Iterator[tuple[float, Line, Any]]:
    """Yield each target and the fastest of the lines that reaches it, with what belongs to that line."""
    for target in TARGETS:
        reached = [each for each in lines if each[0]["recall"] >= target]
        if reached:
            yield target, *max(reached, key=lambda each: float(each[0]["rate"]))
        else:
            print(f"no setting reaches {target}")


def in_turn_with_auto(
    folder: Path,
    target: float,
    line: Line,
    search: Callable[..., Any],
    items: np.ndarray,
    queries: np.ndarray,
    least: np.ndarray,
) -> Line:
    """Measure the search of a line in turn with the index that `index=auto` chose for a target."""
    import faiss

    index = faiss.read_index(str(auto_file(folder, target)))
    (_, found), _, figures = in_turn(index.search, search, queries)
    return line | {
        "setting": f"target {target}: {line['setting']}",
        "target": target,
        "rate": figures["rate of other"],
        "auto": {"recall": recall(items, queries, least, found), "rate": figures["rate"]},
        "ratio": figures["ratio"],
    }


def latest() -> list[Line]:
    """Return the kept lines; of a setting, and of a target of `auto`, the last one."""
    lines = (json.loads(line) for line in RESULTS.read_text().splitlines())
    found = {(each["name"], each["library"], each.get("target", each["setting"])): each for each in lines}
    return list(found.values())


def auto(
    folder: Path, others: np.ndarray, items: np.ndarray, queries: np.ndarray, least: np.ndarray
) -> Iterator[Line]:
    """Measure what `index=auto` chooses, and keep it for `grid` and `scann`."""
    import faiss

    from twotower.evaluation.indexing import tuned_index
    from twotower.index.auto import Auto
    from twotower.index.tune import latency_ms

    faiss.omp_set_num_threads(THREADS)
    for target in TARGETS:
        config = Auto.Config(target_recall=target, min_recall=0.5)
        index, _, choice = tuned_index(config, items, np.arange(len(items)), others)
        assert choice is not None
        index.save(auto_file(folder, target))
        chosen = choice.candidates[0]
        found, rate = timed(index.search, queries, K)
        yield {
            "setting": f"target {target}: {chosen.name}",
            "target": target,
            "num_sampled": choice.num_sampled,
            "search": str(index.search_args),
            "recall": recall(items, queries, least, found.rows),
            "rate": rate,
            "latency": latency_ms(index, queries, K)[0],
            "bytes": stored_bytes(index),
            "build": index.build_seconds,
            "measuring": choice.seconds,
            "predicted": {
                "search": str(chosen.search_args),
                "recall": chosen.recall,
                "rate": chosen.queries_per_second,
                "latency": chosen.latency_ms,
                "bytes": chosen.bytes_per_item,
                "build": chosen.build_seconds,
            },
        }


def auto_file(folder: Path, target: float) -> Path:
    """Return the path of the index that `index=auto` chose for a recall."""
    return folder / f"auto-{target}.faiss"


def scann(folder: Path, items: np.ndarray, queries: np.ndarray, least: np.ndarray) -> Iterator[Line]:
    """Measure ScaNN's tree with asymmetric hashing and reordering.

    Then measure its fastest setting that reaches a target in turn with the index that `auto` kept.
    """
    import faiss
    import scann as library

    faiss.omp_set_num_threads(THREADS)
    searches: list[tuple[Line, Callable[..., Any]]] = []
    for leaves in (1000, 2000, 4000):
        started = time.perf_counter()
        searcher = (
            library.scann_ops_pybind.builder(items, K, "dot_product")
            .tree(num_leaves=leaves, num_leaves_to_search=64, training_sample_size=250_000)
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(400)
            .build()
        )
        seconds = time.perf_counter() - started
        for probed in (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128):
            for reordered in (150, 200, 300, 400, 800):
                search: Callable[..., Any] = partial(
                    searcher.search_batched,
                    pre_reorder_num_neighbors=reordered,
                    leaves_to_search=probed,
                )
                found, rate = timed(search, queries, K)
                line = {
                    "setting": f"{leaves} leaves, {probed} searched, {reordered} reordered",
                    "recall": recall(items, queries, least, found[0].astype(np.int64)),
                    "rate": rate,
                    "bytes": items.shape[1] * 4 + items.shape[1] / 4,
                    "build": seconds,
                }
                searches.append((line, search))
                yield line
    for target, line, search in best(searches):
        yield in_turn_with_auto(folder, target, line, search, items, queries, least)


def hnswlib(items: np.ndarray, queries: np.ndarray, least: np.ndarray) -> Iterator[Line]:
    """Measure a graph of hnswlib."""
    import hnswlib as library

    index = library.Index("ip", items.shape[1])
    started = time.perf_counter()
    index.init_index(len(items), M=32, ef_construction=100)
    index.add_items(items, num_threads=THREADS)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        index.save_index(f"{folder}/index")
        size = Path(folder, "index").stat().st_size / len(items)
    for effort in (100, 200, 400, 800):
        index.set_ef(effort)
        found, rate = timed(index.knn_query, queries, K, THREADS)
        yield {
            "setting": f"M=32, ef={effort}",
            "recall": recall(items, queries, least, found[0].astype(np.int64)),
            "rate": rate,
            "bytes": size,
            "build": seconds,
        }


def autofaiss(folder: Path, items: np.ndarray, queries: np.ndarray, least: np.ndarray) -> Iterator[Line]:
    """Build what autofaiss chooses within some bytes per item, and keep it for `equal_bytes`."""
    import autofaiss as library
    import faiss

    faiss.omp_set_num_threads(THREADS)
    for size in BUDGETS:
        started = time.perf_counter()
        index, infos = library.build_index(
            items,
            save_on_disk=False,
            metric_type="ip",
            max_index_memory_usage=f"{size * len(items) / 1e6:.0f}MB",
            current_memory_available="8GB",
            max_index_query_time_ms=10,
            nb_cores=THREADS,
        )
        seconds = time.perf_counter() - started
        faiss.write_index(index, str(folder / f"autofaiss-{size}.faiss"))
        found, rate = timed(index.search, queries, K)
        yield {
            "setting": f"{infos['index_key']} {infos['index_param']}",
            "budget": size,
            "recall": recall(items, queries, least, found[1]),
            "rate": rate,
            "bytes": len(faiss.serialize_index(index)) / len(items),
            "build": seconds,
        }


def equal_bytes(
    folder: Path, others: np.ndarray, items: np.ndarray, queries: np.ndarray, least: np.ndarray
) -> Iterator[Line]:
    """Measure what `index=auto` chooses within the bytes, and for the recall, of autofaiss; both in turn."""
    import faiss

    from twotower.evaluation.indexing import tuned_index
    from twotower.index.auto import Auto

    faiss.omp_set_num_threads(THREADS)
    for size in BUDGETS:
        theirs = faiss.read_index(str(folder / f"autofaiss-{size}.faiss"))
        target = recall(items, queries, least, theirs.search(queries, K)[1])
        config = Auto.Config(target_recall=target, max_bytes_per_item=size, min_recall=0.1)
        ours, _, choice = tuned_index(config, items, np.arange(len(items)), others)
        assert choice is not None
        found, _, figures = in_turn(ours.search, theirs.search, queries)
        yield {
            "setting": f"{choice.candidates[0].name} {ours.search_args}",
            "budget": size,
            "recall": recall(items, queries, least, found.rows),
            "rate": figures["rate"],
            "bytes": stored_bytes(ours),
            "build": ours.build_seconds,
            "measuring": choice.seconds,
            "autofaiss": {"recall": target, "rate": figures["rate of other"]},
            "ratio": figures["ratio"],
        }


def table() -> None:
    """Print, for each set of vectors and target, the fastest setting of each library that reaches it."""
    lines = latest()
    for name in dict.fromkeys(line["name"] for line in lines):
        for target in TARGETS:
            print(f"\n{name}, recall@{K} >= {target}")
            for library in dict.fromkeys(line["library"] for line in lines if line["name"] == name):
                reached = [
                    line
                    for line in lines
                    if (line["name"], line["library"]) == (name, library)
                    and (
                        line.get("target", target) == target
                        and line["recall"] >= target - 0.005 * ("target" in line)
                    )
                ]
                if not reached:
                    print(f"  {library:10s} not reached")
                    continue
                best = max(reached, key=lambda each: float(each["rate"]))
                figures = f"{best['recall']:.4f} {best['rate']:9,.0f} q/s {best['bytes']:5.0f} bytes"
                predicted = json.dumps(best.get("predicted", ""))
                print(f"  {library:10s} {figures} {best['build']:6.1f} s  {best['setting']}  {predicted}")


def main() -> None:
    """Run one library, or print the table."""
    library, *given = sys.argv[1:]
    if library == "table":
        table()
        return
    arguments = dict(argument.split("=", 1) for argument in given)
    folder = Path(arguments["folder"])
    items, queries, least, others = load(folder)
    libraries: dict[str, Callable[..., Iterator[Line]]] = {
        "grid": partial(grid, folder, others),
        "auto": partial(auto, folder, others),
        "scann": partial(scann, folder),
        "hnswlib": hnswlib,
        "autofaiss": partial(autofaiss, folder),
        "equal_bytes": partial(equal_bytes, folder, others),
    }
    if library in ("grid", "scann") and (
        missing := [t for t in TARGETS if not auto_file(folder, t).is_file()]
    ):
        raise SystemExit(
            f"{folder}: no index of auto for {missing}; first: index_peers.py auto name=... folder=..."
        )
    for line in libraries[library](items, queries, least):
        written = {"name": arguments["name"], "library": library, "num_items": len(items), **line}
        written["load"] = round(os.getloadavg()[0], 1)
        with RESULTS.open("a") as file:
            file.write(json.dumps(written) + "\n")
        figures = f"{line['recall']:.4f} {line['rate']:9,.0f} q/s  {line['bytes']:.0f} bytes"
        ratio = f", the index of ours has {line['ratio']:.2f} of its speed" if "ratio" in line else ""
        print(f"{figures}  {line['setting']}{ratio}", flush=True)


if __name__ == "__main__":
    main()
