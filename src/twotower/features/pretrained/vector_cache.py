"""A cache of vectors by the content that they embed."""

import functools
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twotower.config.progress import Progress
from twotower.features.pretrained.embedders import Embedder, Floats
from twotower.files.atomic import file_sha256, write_atomically

MIN_NEW_VECTORS = 64
"""Minimum number of new vectors that are stored, so that requests to a service do not write a file each."""
KEY_BYTES = 16


def cached_vectors(
    folder: Path, contents: Sequence[bytes | None], embed: Embedder, what: str
) -> list[Floats | None]:
    """Return the vector of each content; vectors that are not in the cache are computed and stored.

    Files of the cache folder of a model are named by their SHA-256; damaged files are ignored. `what` is the
    label of the progress line.
    """
    keys = [None if each is None else hashlib.sha256(each).digest()[:KEY_BYTES] for each in contents]
    by_key = {key: each for key, each in zip(keys, contents, strict=True) if key and each is not None}
    stored = _stored_vectors(tuple(sorted(folder.glob("*.npy"))))
    vectors: dict[bytes, Floats | None] = {key: stored[key] for key in by_key.keys() & stored.keys()}
    missing = [key for key in by_key if key not in vectors]
    with Progress(what, len(missing)) as advance:
        for number, key in enumerate(missing, start=1):
            vectors[key] = embed(by_key[key])
            advance(number)
    new = {key: vector for key in missing if (vector := vectors[key]) is not None}
    if new and len(missing) >= MIN_NEW_VECTORS:
        _store(folder, new)
    return [None if key is None else vectors[key] for key in keys]


@functools.lru_cache(4)
def _stored_vectors(paths: tuple[Path, ...]) -> dict[bytes, Floats]:
    vectors: dict[bytes, Floats] = {}
    for path in paths:
        if file_sha256(path) != path.stem:
            continue
        part = np.load(path, mmap_mode="r", allow_pickle=False)
        vectors.update(zip(map(bytes, part["key"]), part["vector"], strict=True))
    return vectors


def _store(folder: Path, vectors: dict[bytes, Floats]) -> None:
    width = len(next(iter(vectors.values())))
    part = np.zeros(len(vectors), dtype=[("key", "u1", (KEY_BYTES,)), ("vector", "f4", (width,))])
    part["key"] = [np.frombuffer(key, dtype=np.uint8) for key in vectors]
    part["vector"] = np.stack(list(vectors.values()))
    file = io.BytesIO()
    np.save(file, part, allow_pickle=False)
    content = file.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()}.npy"
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
