"""Write the embeddings of all users or items to a file.

Shapes: B users or items of a part, D embedding.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from twotower.bundle.embed import (
    CONTEXT,
    NOTHING,
    Floats,
    HistoryInputs,
    check_embeddings,
    checked_features,
    embed_users,
)
from twotower.bundle.read import Bundle, gather_history_vectors, read_bundle
from twotower.config.errors import InputError
from twotower.data.tables import ITEM_ID, USER_ID
from twotower.files.part_files import write_in_parts
from twotower.files.shards import Shard

Side = Literal["users", "items"]
KEYS: dict[Side, str] = {"users": USER_ID, "items": ITEM_ID}
PART_VALUES = 2**22
"""Numbers in the vectors of one part: 16 MB."""
ROWS_PER_PASS = 1024
"""Users that are embedded together. The padding of their histories can change the last bits of a vector."""


def write_vectors(
    bundle: Path,
    side: Side,
    out: Path,
    trusted_packages: Collection[str] = (),
    context: Mapping[str, Any] = NOTHING,
    shard: Shard | None = None,
) -> str:
    """Write the ids and embeddings of all users or items of a bundle. Returns one line of text.

    The score of a user and an item is the dot product of their vectors, which includes the item bias. Users
    are embedded at the request time of the bundle; items have the vectors of the index.

    Args:
        bundle: folder of the bundle.
        side: users or items.
        out: the Parquet file; see `write_in_parts` for how an interrupted run is resumed.
        trusted_packages: packages whose classes the bundle can name.
        context: column of the request -> raw value, for users; other columns are unknown.
        shard: the share of the rows to write. All shares together equal the whole file to the last bit.

    Raises:
        InputError: the bundle cannot be read, the context is invalid, an embedding is not finite, or
            there are more shares than rows.
    """
    found = read_bundle(bundle, trusted_packages)
    ids = (found.users if side == "users" else found.items).values
    if not len(ids):
        raise InputError(f"{bundle}: there are no {side} in this bundle")
    if shard and shard.count > len(ids):
        raise InputError(f"shard={shard}: {bundle} has only {len(ids):,} {side}; expected n of at most that")
    dim = found.manifest.embedding_dim
    if context and side == "items":
        raise InputError("context: applies to side=users only; leave it out")
    vectors = (
        user_vectors(found, context) if side == "users" else lambda rows: found.item_embeddings[rows - 1]
    )
    size = max(1, PART_VALUES // dim)
    id_kind = pa.string() if ids.dtype.kind == "U" else pa.int64()
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), dim)
    schema = pa.schema(
        [pa.field(KEYS[side], id_kind, nullable=False), pa.field("vector", kind, nullable=False)]
    )

    share = shard.positions(len(ids)) if shard else range(len(ids))
    first_part, num_parts = share.start // size, -(-share.stop // size) - share.start // size

    def part(number: int) -> pa.Table:
        start = (first_part + number) * size
        stop = min(start + size, len(ids))
        own = range(max(start, share.start), min(stop, share.stop))
        chunks = []  # whole passes of the whole file, so that a share has the same bits
        for first in range(own.start - (own.start - start) % ROWS_PER_PASS, own.stop, ROWS_PER_PASS):
            rows = np.arange(first, min(first + ROWS_PER_PASS, stop)) + 1
            chunks.append(vectors(rows)[max(own.start - first, 0) : own.stop - first])
        values = pa.array(np.concatenate(chunks).reshape(-1))
        values = pa.FixedSizeListArray.from_arrays(values, type=kind)
        return pa.table([pa.array(ids[own.start : own.stop].tolist(), id_kind), values], schema=schema)

    plan = {"command": "embed", "bundle": found.manifest.sha256, "side": side, "part_rows": size}
    plan |= {"context": dict(context)} if context else {}
    plan |= {"shard": str(shard)} if shard else {}
    num_rows = write_in_parts(out, plan, num_parts, part)
    if num_rows != len(share):
        raise RuntimeError(f"{out}: {num_rows:,} rows of {len(share):,} {side}")
    return f"ok  {num_rows:,} {side}, vectors of {dim} numbers  {out}"


def user_vectors(bundle: Bundle, context: Mapping[str, Any] = NOTHING) -> Callable[[np.ndarray], Floats]:
    """Return a function from the rows of users of a bundle to their embeddings at its request time."""
    contexts = bundle.model.contexts
    (given,) = checked_features(contexts, [context], USER_ID, part=CONTEXT)
    num_interactions = bundle.history.counts()

    def embed(rows: np.ndarray) -> Floats:
        features = bundle.model.users.gather(torch.from_numpy(rows))
        if given:
            features |= contexts.encode([given] * len(rows))
        length = min(bundle.model.history.config.length, max(1, int(num_interactions[rows].max())))
        items, times = bundle.history.last(rows, length)
        vectors, positions = gather_history_vectors(bundle.model, items, bundle.tower_outputs)
        now = np.full(len(rows), bundle.manifest.request_time, dtype=np.int64)
        history = HistoryInputs(vectors, positions, times, bundle.history.last_events(rows, length))
        found = embed_users(bundle.model, features, history, now)
        check_embeddings(found, "user", bundle.users.ids(rows).tolist())
        return found

    return embed
