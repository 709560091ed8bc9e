"""An index built in shards: trained once, vectors added in shares, and the shares merged.

The cells and codes are those of one build, and so is the order of the vectors, so the merged index equals it.

Shapes: N items, D embedding.
"""

import hashlib
import json
import logging
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from twotower.bundle.layout import INDEX
from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.config.problems import Problem
from twotower.files.atomic import file_sha256, write_text_atomically
from twotower.files.part_files import check_new, new_folder
from twotower.files.shards import Shard, all_parts, check_facts
from twotower.index.auto import Auto
from twotower.index.check import evenly_spaced, halves
from twotower.index.ground_truth import as_vectors, vector_blocks
from twotower.index.index import Index
from twotower.index.ivf import IVF
from twotower.index.list_files import merge_files
from twotower.serving.vector_files import VectorFiles

LOG = logging.getLogger("twotower")
TRAIN, TRAINED = "train", "trained"
"""The value of `shard` that trains, and the folder of the trained index."""
SUFFIX, FACTS, QUERIES = ".index", "shard.json", "queries"
"""End of the name of a share's folder, the file in it that states its origin, and the key of the queries."""
NUM_SAMPLED = 2_000
"""Number of users that are read as queries: one half fits and tunes the index, the other half measures it."""
BUFFER_BYTES = 2**30
"""Vectors of one share in memory while one machine builds an index on disk."""


def setting_problems(
    shard: Shard | str | None, shards: Path | None, queries: Path | None, on_disk: bool
) -> Iterator[Problem]:
    """Yield what is wrong with the settings of `twotower build_index`."""
    if shard is None:
        return
    if shards is not None:
        yield Problem("shards", f"merges what shard=k/n has written, and shard={shard} writes it; type one")
    if queries is not None and shard != TRAIN:
        yield Problem("queries", f"train and check the whole index; leave them out with shard={shard}")
    if on_disk:
        yield Problem("on_disk", f"is for the merged index: type it with shards=, without shard={shard}")


def open_sides(parts: Path, queries: Path | None) -> tuple[VectorFiles, VectorFiles | None]:
    """Open files of items, and of users if there are any.

    Raises:
        InputError: files are missing or damaged, or not of one run.
    """
    items = VectorFiles.open("parts", parts, "items")
    users = VectorFiles.open("queries", queries, "users") if queries else None
    if users and users.bundle != items.bundle:
        raise InputError(f"queries={queries}: of another run than parts={parts}; embed both sides of one run")
    return items, users


def sampled_queries(users: VectorFiles | None, items: VectorFiles) -> tuple[np.ndarray, np.ndarray]:
    """Return users [Q, (I,) D] that fit and tune an index, and queries [., D] of others that check it.

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
    return sample[::2], checking.reshape(-1, items.dim)


def train_shards(parts: Path, queries: Path | None, config: Index.Config, out: Path) -> int:
    """Train cells and codes on a sample of all vectors. Writes `trained` into the folder of the shards.

    Args:
        queries: see `build_index`; an index of one build with the same ones equals the merged one.

    Raises:
        InputError: files are missing or damaged, the settings do not fit, or the folder exists.
    """
    started = time.perf_counter()
    items, users = open_sides(parts, queries)
    path = out / TRAINED
    check_new(path)
    index = mergeable(config, items, "shard").build()
    if fits_queries(index.config):
        index.queries, _ = halves(sampled_queries(users, items)[0])
    positions = np.arange(items.num_rows)[index.config.training_positions(items.num_rows)]
    sample = items.at(positions).reshape(-1, items.dim)
    index.train_empty(sample, items.num_rows)
    _write(index, path, {**_facts(items, index.config), QUERIES: fingerprint(index.queries)})
    seconds = time.perf_counter() - started
    print(f"ok  {index.kind} trained on {len(sample):,} of {items.num_rows:,} items, {seconds:.1f} s  {path}")
    return DONE


def build_shard(parts: Path, config: Index.Config, shard: Shard, out: Path, command: str) -> int:
    """Add the vectors of a share to the trained index in the folder `out`; returns the exit status.

    Args:
        command: writes a share, without `out` and `shard`.

    Raises:
        InputError: as `train_shards`, or nothing is trained, or it has other items or settings.
    """
    started = time.perf_counter()
    items = VectorFiles.open("parts", parts, "items")
    path = shard.part(out, SUFFIX)
    check_new(path)
    config = mergeable(config, items, "shard")
    command += f" {shlex.quote(f'out={out}')} shard={TRAIN}"
    facts = _check(out / TRAINED, _facts(items, config), command)
    rows, index = shard.positions(items.num_rows), config.build()
    index.load(out / TRAINED / INDEX)
    if len(rows):
        with tempfile.TemporaryFile(dir=out) as file:
            items.copy_to(file, rows)
            vectors = np.asarray(np.memmap(file, np.float32, "r", shape=(len(rows), items.dim)))
            index.add(as_vectors(vectors, "item vectors", first=rows.start), np.arange(rows.start, rows.stop))
    _write(index, path, {**_facts(items, config), "trained": facts["sha256"], "shard": str(shard)})
    print(f"ok  {len(rows):,} items, {index.kind}, {time.perf_counter() - started:.1f} s  {path}")
    return DONE


def open_shards(
    items: VectorFiles,
    config: Index.Config,
    shards: Path,
    queries: Path | None,
    fitted: np.ndarray,
    command: str,
) -> list[Path]:
    """Check that all shares are of one training, and of these items and settings.

    Args:
        queries: files of users, whose embeddings `fitted` [Q, D] the cells must fit.

    Returns:
        The trained index file and those of all shares, in order.

    Raises:
        InputError: a share is missing, damaged or of another training.
    """
    expected, command = _facts(items, config), f"{command} {shlex.quote(f'out={shards}')}"
    path, typed = shards / TRAINED, f" {shlex.quote(f'queries={queries}')}" if queries else ""
    train = f"{command} shard={TRAIN}{typed}"
    trained = _check(path, expected, train)
    if trained.get(QUERIES) != fingerprint(fitted if fits_queries(config) else None):
        raise InputError(
            f"{path}: its cells fit other users than queries={queries or 'null'}; type the queries of "
            f"shard={TRAIN}, or move it away, and type: {train}"
        )
    parts = all_parts("shards", shards, command, SUFFIX)
    for path, shard in parts.items():
        facts = {**expected, "trained": trained["sha256"], "shard": str(shard)}
        _check(path, facts, f"{command} shard={shard}")
    return [folder / INDEX for folder in (shards / TRAINED, *parts)]


def merged_index(
    config: Index.Config,
    vectors: np.ndarray,
    queries: np.ndarray,
    shares: list[Path],
    path: Path,
    on_disk: bool,
) -> Index:
    """Merge shares into an index file and return its index.

    Args:
        vectors: all of them, [N, D].
        queries: [Q, D], which the cells of new shares fit.
        shares: files of `open_shards`; empty: they are written next to `path`, and deleted at the end.
        on_disk: see `merge_files`.
    """
    started, index = time.perf_counter(), config.build()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        trained, *parts = shares or _write_shares(config, vectors, queries, Path(folder))
        merge_files(trained, parts, path, on_disk)
    index.load(path)
    index.build_seconds = time.perf_counter() - started
    return index


def _write_shares(config: Index.Config, vectors: np.ndarray, queries: np.ndarray, folder: Path) -> list[Path]:
    """Build shares of `BUFFER_BYTES` of vectors [N, D] on one machine. Returns what `open_shards` returns."""
    for _ in vector_blocks(vectors, "item vectors"):
        pass  # they are finite
    index, (num_items, dim) = config.build(), vectors.shape
    index.queries = queries
    index.train_empty(vectors[config.training_positions(num_items)], num_items)
    index.save(folder / TRAINED)
    files, size = [folder / TRAINED], max(1, BUFFER_BYTES // (4 * dim))
    for first in range(0, num_items, size):
        index.load(files[0])
        stop = min(first + size, num_items)
        index.add(vectors[first:stop], np.arange(first, stop))
        files.append(folder / f"{first}{SUFFIX}")
        index.save(files[-1])
    return files


def fits_queries(config: Index.Config) -> bool:
    """Return whether the cells of an index of these settings fit queries."""
    return isinstance(config, IVF.Config) and config.fit_queries


def fingerprint(queries: np.ndarray | None) -> str | None:
    """Return the SHA-256 of the queries that cells fit; None: they fit the items alone."""
    return None if queries is None else hashlib.sha256(np.ascontiguousarray(queries).tobytes()).hexdigest()


def mergeable(config: Index.Config, items: VectorFiles, key: str) -> Index.Config:
    """Return the settings for these items; raises InputError if they do not fit, or cannot be merged."""
    config.check_sizes(items.dim, items.num_rows)
    if isinstance(config, Auto.Config) and config.budgets:
        raise InputError(
            f"{key}: index=auto measures whole indexes; type index=ivf_sq or ivf_pq, without limits"
        )
    config = config.for_size(items.num_rows)
    index = config.build()
    if not index.is_mergeable:
        raise InputError(
            f"{key}: index={index.kind} does not hold its vectors in cells alone; type index=ivf_flat, "
            "ivf_sq, ivf_pq or ivf_opq"
        )
    return config


def _facts(items: VectorFiles, config: Index.Config) -> dict[str, Any]:
    """Return what must be equal in the trained index and all shares."""
    settings = {f"index.{key}": value for key, value in config.spec().items()}
    return {"bundle": items.bundle, "num_items": items.num_rows, "dim": items.dim, **settings}


def _write(index: Index, path: Path, facts: dict[str, Any]) -> None:
    with new_folder(path) as folder:
        index.save(folder / INDEX)
        content = {**facts, "sha256": file_sha256(folder / INDEX)}
        write_text_atomically(folder / FACTS, json.dumps(content, indent=2) + "\n")


def _check(path: Path, expected: dict[str, Any], command: str) -> dict[str, Any]:
    """Return the facts of a folder; raises InputError if it is damaged, or facts are not as expected."""
    if not path.is_dir():
        raise InputError(f"{path}: there is no such folder; type: {command}")
    remedy = f"move it away, and type: {command}"
    try:
        facts: dict[str, Any] = json.loads((path / FACTS).read_text(encoding="utf-8"))
        sha256 = file_sha256(path / INDEX)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error!s:.200}); {remedy}") from error
    check_facts(path, facts, {**expected, "sha256": sha256}, command)
    return facts
