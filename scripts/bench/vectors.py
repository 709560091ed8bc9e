"""Vectors of trained towers, enlarged so that indexes can be measured at sizes that no shared log has.

A new vector is an item plus a fraction of the difference of two of its nearest neighbors, so it lies in the
directions in which items near it differ. A linear map then gives all new vectors the second moments of the
items, and each is scaled to the length of its item. Queries are the users, who are not changed.
"""

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import trainings
from record import OUTPUTS

from twotower.files.atomic import publish_folder, temporary_folder
from twotower.files.vector_arrays import read_vectors

NEIGHBORS, SPREAD, ROUNDS, BLOCK, SEED, NUMBER = 16, 0.7, 3, 100_000, 0, 1_000_000
SHARES = ("split.unit=share", "split.test=0.1", "split.valid=0.1")
TOWERS = {
    "Shop": (),
    "ML-1M": ("data=movielens_1m", *SHARES),
    "Power": ("initialization=random",),
    "Cosine": ("experiment=movielens_1m",),
    "Gowalla": ("experiment=gowalla", "embedding_dim=64"),
}
"""Settings of the trainings whose vectors are enlarged."""


def enlarged(name: str, number: int = NUMBER) -> tuple[Path, np.ndarray, np.ndarray]:
    """Return a folder, items [number, D] and users [Q, D]; made from trained towers if it is not there."""
    folder = OUTPUTS / "vectors" / f"{name}-{number}"
    if not folder.is_dir():
        run = trainings.trained(name, TOWERS[name], 42, OUTPUTS / "vectors" / "runs")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder) as temporary:
            for side in ("items", "users"):
                words = [f"run={run}", f"side={side}", f"out={temporary / side}.parquet"]
                subprocess.run(
                    [sys.executable, "-m", "twotower", "embed", *words], check=True, stdout=sys.stderr
                )
            items = read_vectors("vectors", temporary / "items.parquet")
            users = read_vectors("queries", temporary / "users.parquet").reshape(-1, items.shape[1])
            np.save(temporary / "items.npy", enlarge(items, number))
            np.save(temporary / "users.npy", users)
            publish_folder(temporary, folder)
    items, users = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("items", "users"))
    return folder, items, users


def enlarge(items: np.ndarray, number: int, seed: int = SEED) -> np.ndarray:
    """Return float32 [number, D]; item i mod N is the source of vector i."""
    index, generator = faiss.IndexFlatL2(items.shape[1]), np.random.default_rng(seed)
    index.add(items)
    near = index.search(items, NEIGHBORS + 1)[1][:, 1:]
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
    root, inverse = _power(found, 0.5), _power(found, -0.5)
    made: np.ndarray = (inverse @ _power(root @ wanted @ root, 0.5) @ inverse).astype(np.float32)
    return made


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, axes = np.linalg.eigh(matrix)
    made: np.ndarray = (axes * np.maximum(values, values[-1] * 1e-9) ** exponent) @ axes.T
    return made


def unit(number: int, seed: int, dim: int = 64) -> np.ndarray:
    """Return random unit vectors float32 [number, D]."""
    drawn = np.random.default_rng(seed).standard_normal((number, dim), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn
