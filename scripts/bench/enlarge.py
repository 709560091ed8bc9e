"""More vectors like those of trained towers, so that indexes can be measured at sizes that no shared log has.

    python scripts/bench/enlarge.py vectors=items.parquet queries=users.parquet number=1000000 out=folder

A new vector is an item plus a fraction of the difference of two of its nearest neighbors, so it lies in the
directions in which items near it differ. A linear map then gives all new vectors the second moments of the
items, and each is scaled to the length of its item. Queries are not changed. Writes `items.npy`, `users.npy`
and `kept.json`: quantiles of lengths and cosines, and shares of the spectrum, before and after.
"""

import json
import sys
from pathlib import Path

import faiss
import numpy as np

from twotower.files.vector_arrays import read_vectors

NEIGHBORS, SPREAD, ROUNDS, BLOCK, SEED = 16, 0.7, 3, 100_000, 0
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
PAIRS = 2_000


def neighbors(items: np.ndarray) -> np.ndarray:
    """Return the positions [N, NEIGHBORS] of the nearest other vectors by Euclidean distance."""
    index = faiss.IndexFlatL2(items.shape[1])
    index.add(items)
    found: np.ndarray = index.search(items, NEIGHBORS + 1)[1][:, 1:]
    return found


def enlarge(items: np.ndarray, number: int, seed: int = SEED) -> np.ndarray:
    """Return float32 [number, D]; item i mod N is the source of vector i."""
    near, generator = neighbors(items), np.random.default_rng(seed)
    made = np.empty((number, items.shape[1]), dtype=np.float32)
    for first in range(0, number, BLOCK):
        source = np.arange(first, min(number, first + BLOCK)) % len(items)
        one, other = (near[source, generator.integers(0, NEIGHBORS, len(source))] for _ in range(2))
        made[first : first + len(source)] = items[source] + SPREAD * (items[one] - items[other])
    lengths = np.linalg.norm(items, axis=1)[np.arange(number) % len(items)]
    for _ in range(ROUNDS):
        made @= _map(moments(made), moments(items))
        made *= (lengths / np.maximum(np.linalg.norm(made, axis=1), 1e-12))[:, None]
    return made


def moments(vectors: np.ndarray) -> np.ndarray:
    """Return the second moments, float64 [D, D]."""
    wide = vectors.astype(np.float64)
    made: np.ndarray = wide.T @ wide / len(wide)
    return made


def _map(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the symmetric map, float32 [D, D], that gives vectors of moments `found` those `wanted`."""
    root = _power(found, 0.5)
    inverse = _power(found, -0.5)
    made: np.ndarray = (inverse @ _power(root @ wanted @ root, 0.5) @ inverse).astype(np.float32)
    return made


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, axes = np.linalg.eigh(matrix)
    made: np.ndarray = (axes * np.maximum(values, values[-1] * 1e-9) ** exponent) @ axes.T
    return made


def described(items: np.ndarray, queries: np.ndarray) -> dict[str, list[float]]:
    """Return what an enlargement should keep."""
    generator = np.random.default_rng(SEED)
    some = items[generator.integers(0, len(items), PAIRS)]
    asked = queries[generator.integers(0, len(queries), PAIRS)]
    lengths = np.linalg.norm(items, axis=1)
    cosines = (some / np.linalg.norm(some, axis=1)[:, None]) @ (
        asked / np.linalg.norm(asked, axis=1)[:, None]
    ).T
    spectrum = np.linalg.eigvalsh(moments(items))[::-1]
    figures = {
        "length": np.percentile(lengths, QUANTILES),
        "cosine of query and item": np.percentile(cosines, (*QUANTILES, 99.9)),
        "share of the first 1, 4, 16 and 32 axes": np.cumsum(spectrum)[[0, 3, 15, 31]] / spectrum.sum(),
    }
    return {name: [round(float(value), 4) for value in values] for name, values in figures.items()}


def main(vectors: Path, queries: Path, number: int, out: Path) -> None:
    """Write the files."""
    items = read_vectors("vectors", vectors)
    users = read_vectors("queries", queries).reshape(-1, items.shape[1])
    made = enlarge(items, number)
    out.mkdir(parents=True)
    np.save(out / "items.npy", made)
    np.save(out / "users.npy", users)
    kept = {"before": described(items, users), "after": described(made, users)}
    (out / "kept.json").write_text(json.dumps(kept, indent=2) + "\n")
    for name, before in kept["before"].items():
        print(f"{name:42s} {before}\n{'':42s} {kept['after'][name]}")


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    main(Path(given["vectors"]), Path(given["queries"]), int(given["number"]), Path(given["out"]))
