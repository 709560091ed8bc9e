"""Building and searching an index, against raw Faiss made by the same factory string.

    python scripts/bench/index.py [vectors=200000] [kind ...]      (about two minutes on a free core)

Unit vectors of 64 dimensions, k = 100; a batch is 256 queries, then single queries on one thread. Both sides
have the ids and the search arguments of ours, and must find the same. With fewer vectors a flat index is a
matter of luck: whether memory begins at a multiple of 32 bytes makes 8 %. Prints a table, writes
`outputs/bench/index.json`.
"""

import argparse
import time
from functools import partial
from typing import Any

import faiss
import numpy as np
from record import pairs, write

from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index.tune import single_thread

DIM, K, NUM_QUERIES, NUM_SINGLE = 64, 100, 256, 100
PROBES, PAIRS = 8, 5
BUILDS = {"flat": 9, "ivf_flat": 3, "ivf_pq": 1, "ivf_sq": 3}  # pairs
KINDS: dict[str, tuple[type[Index], str]] = {
    "flat": (FlatIP, "IDMap,Flat"),
    "ivf_flat": (IVFFlat, "IVF{},Flat"),
    "ivf_pq": (IVFPQ, "IVF{},PQ32x8np"),
    "ivf_sq": (IVFSQ, "IVF{},SQfp16"),
}


def unit(number: int, seed: int) -> np.ndarray:
    """Return unit vectors float32 [number, D]."""
    drawn = np.random.default_rng(seed).standard_normal((number, DIM), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


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


def measure(name: str, vectors: np.ndarray, queries: np.ndarray) -> dict[str, object]:
    """Time both sides of one kind in turn."""
    kind, factory = KINDS[name]
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
    figures: dict[str, object] = {}
    for clock_name, clock in (("wall", time.perf_counter), ("processor", time.process_time)):
        timed = {
            "batch": pairs(
                partial(ours.search, queries, K), partial(theirs.search, queries, K), PAIRS, 1, clock
            )
        }
        with single_thread():
            timed["single"] = pairs(
                lambda: [ours.search(query, K) for query in one],
                lambda: [theirs.search(query, K) for query in one],
                PAIRS,
                clock=clock,
            )
        if clock is time.process_time:  # most of it is k-means, which is long
            timed["build"] = pairs(
                build, lambda: raw(factory, ours, vectors, rows), BUILDS[name], warm_up=0, clock=clock
            )
        for what, each in timed.items():
            figures[f"{name}_{what}_{clock_name}"] = each
            print(f"{name:9s} {what:6s} {clock_name:9s} {each.told()}", flush=True)
    return figures


def main(num_vectors: int, *kinds: str) -> None:
    """Measure some kinds, or all."""
    vectors, queries = unit(num_vectors, 0), unit(NUM_QUERIES, 1)
    figures: dict[str, object] = {"vectors": len(vectors), "faiss_threads": faiss.omp_get_max_threads()}
    for name in kinds or KINDS:
        figures |= measure(name, vectors, queries)
    print(write("index", figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("vectors", type=int, nargs="?", default=200_000)
    parser.add_argument("kinds", nargs="*")
    arguments = parser.parse_args()
    main(arguments.vectors, *arguments.kinds)
