"""Vectors that were computed once, kept by what they were computed from."""

import functools
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twotower.config.progress import Progress
from twotower.features.pretrained.model_folder import Embedder, Floats
from twotower.files.atomic import sha256_of_file, write_atomically

KEPT_FROM = 64
"""Fewer new vectors than this at once are not kept: a service's requests would leave a file each."""
KEY_BYTES = 16


def cached_vectors(
    folder: Path, contents: Sequence[bytes | None], embed: Embedder, what: str
) -> list[Floats | None]:
    """Return the vector of each content; those that the folder does not have yet are computed, and kept.

    A vector depends on its content and on the model alone, so what is there already changes nothing. Parts
    of the cache are named by their SHA-256; damaged ones are passed over.

    Args:
        folder: of this model.
        contents: None where there is nothing.
        embed: the model.
        what: it is, for messages.
    """
    keys = [None if each is None else hashlib.sha256(each).digest()[:KEY_BYTES] for each in contents]
    wanted = {
        key: each for key, each in zip(keys, contents, strict=True) if key is not None and each is not None
    }
    known = _known(folder, tuple(sorted(folder.glob("*.npy"))))
    found: dict[bytes, Floats | None] = {key: known[key] for key in wanted.keys() & known.keys()}
    missing = [key for key in wanted if key not in found]
    with Progress(what, len(missing)) as advance:
        for number, key in enumerate(missing, start=1):
            found[key] = embed(wanted[key])
            advance(number)
    if len(missing) >= KEPT_FROM:
        _keep(folder, {key: vector for key in missing if (vector := found[key]) is not None})
    return [None if key is None else found[key] for key in keys]


@functools.lru_cache(4)
def _known(folder: Path, parts: tuple[Path, ...]) -> dict[bytes, Floats]:
    known: dict[bytes, Floats] = {}
    for path in parts:
        if sha256_of_file(path) != path.stem:
            continue
        part = np.load(path, mmap_mode="r", allow_pickle=False)
        known.update(zip(map(bytes, part["key"]), part["vector"], strict=True))
    return known


def _keep(folder: Path, vectors: dict[bytes, Floats]) -> None:
    if not vectors:
        return
    width = len(next(iter(vectors.values())))
    part = np.zeros(len(vectors), dtype=[("key", "u1", (KEY_BYTES,)), ("vector", "f4", (width,))])
    part["key"] = [np.frombuffer(key, dtype=np.uint8) for key in vectors]
    part["vector"] = np.stack(list(vectors.values()))
    file = io.BytesIO()
    np.save(file, part, allow_pickle=False)
    content = file.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()}.npy"
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
