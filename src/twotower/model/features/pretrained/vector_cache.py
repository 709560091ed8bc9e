"""A cache of vectors by the content that they embed."""

import functools
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from twotower.config.progress import Progress
from twotower.files.atomic import file_sha256, write_atomically
from twotower.model.features.pretrained.embedders import Floats

MIN_NEW_VECTORS = 64
"""Minimum number of new vectors that are stored, so that requests to a service do not write a file each."""
STORED_AT_ONCE, KEY_BYTES = 1024, 16


def content_key(content: bytes | None) -> bytes | None:
    """Return the key of a content in the cache, None for None."""
    return None if content is None else hashlib.sha256(content).digest()[:KEY_BYTES]


def cached_vectors(
    folder: Path, keys: Sequence[bytes | None], embed: Callable[[int], Floats | None], what: str
) -> list[Floats | None]:
    """Return the vector of each content; vectors that are not in the cache are computed and stored.

    They are stored in parts, so that little is lost when the program is stopped.

    Args:
        folder: of the cache of a model; its files are named by their SHA-256, and damaged ones are ignored.
        keys: `content_key` of each content.
        embed: computes the vector of the content at a position.
        what: label of the progress line.
    """
    positions = {key: position for position, key in enumerate(keys) if key is not None}
    stored = _stored_vectors(tuple(sorted(folder.glob("*.npy"))))
    vectors: dict[bytes, Floats | None] = {key: stored[key] for key in positions.keys() & stored.keys()}
    missing = [key for key in positions if key not in vectors]
    new: dict[bytes, Floats] = {}
    with Progress(what, len(missing)) as advance:
        for number, key in enumerate(missing, start=1):
            vectors[key] = vector = embed(positions[key])
            if vector is not None:
                new[key] = vector
            is_end = number == len(missing) >= MIN_NEW_VECTORS
            if new and (is_end or len(new) == STORED_AT_ONCE):
                _store(folder, new)
                new = {}
            advance(number)
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
