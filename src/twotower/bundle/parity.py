"""Whether exported towers say what the trained ones say, asked of the cases in which exports go wrong.

Shapes: B users or items, L history positions, W width of a feature, D embedding, H history vector.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.bundle.exported import ExportedTowers
from twotower.bundle.read import Bundle
from twotower.config.errors import InputError
from twotower.towers.two_tower import TwoTower

LARGEST_DIFFERENCE = 1e-5
NUM_DRAWN = 1000
BATCH = 256
NUM_ALONE = 16
SEED = 0

Integers = NDArray[np.int64]
Users = tuple[dict[str, Tensor], Integers, Integers, Integers]
"""Encoded features [B, W], history rows [B, L], their times [B, L] and request times [B]."""


def check_parity(bundle: Bundle, exported: ExportedTowers) -> dict[str, Any]:
    """Compare embeddings of users and items, known and new; returns how many, and the largest difference.

    That is in units of the largest number of the embeddings where that is above 1. An InputError if it is
    above 1e-5, or not finite.
    """
    rng = np.random.default_rng(SEED)
    users, items = list(_users(bundle, rng)), list(_items(bundle.model, rng))
    with torch.inference_mode():
        differences = [_of_users(bundle.model, exported, case) for case in users]
        differences += [_of_items(bundle.model, exported, case) for case in items]
    largest = float(np.max(differences))
    if not largest <= LARGEST_DIFFERENCE:  # NaN too
        raise InputError(
            f"{bundle.folder}: its exported towers differ from the trained ones by {largest:.1e}, and "
            f"{LARGEST_DIFFERENCE:.0e} is allowed; nothing was written. The export is at fault: report it "
            "with the bundle's config.yaml"
        )
    return {
        "users_compared": sum(len(rows) for _, rows, _, _ in users),
        "items_compared": sum(len(next(iter(case.values()))) for case in items),
        "largest_difference": largest,
        "allowed_difference": LARGEST_DIFFERENCE,
    }


def _users(bundle: Bundle, rng: np.random.Generator) -> Iterator[Users]:
    """Yield known users and the unknown one in batches, some alone, these without one feature; new users."""
    length, num_users = bundle.model.history.config.length, len(bundle.users)
    drawn = rng.choice(num_users, min(NUM_DRAWN, num_users), replace=False) + 1
    rows = np.append(0, np.sort(drawn)).astype(np.int64)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    for batch in batches + [row[None] for row in rows[:NUM_ALONE]]:
        times = np.resize([bundle.request_time, 0, bundle.request_time + 100 * 86_400], len(batch))
        features = bundle.model.users.gather(torch.from_numpy(batch))
        yield features, *bundle.history.last(batch, length), times.astype(np.int64)
        for name, missing in bundle.model.users.encode([{}]).items() if len(batch) == 1 else ():
            rest = features | {name: missing}
            yield rest, *bundle.history.last(batch, length), times.astype(np.int64)
    yield from _new_users(bundle, rng)


def _new_users(bundle: Bundle, rng: np.random.Generator) -> Iterator[Users]:
    """Yield users without any feature, with histories of no item, one and as many as fit, at any width."""
    length, num_items, now = bundle.model.history.config.length, len(bundle.items), bundle.request_time
    lengths = sorted({0, 1, min(2, length), length // 2, length})
    rows = rng.integers(1, num_items + 1, (len(lengths), length))
    rows[-1, -1] = num_items
    rows[np.arange(length) < length - np.array(lengths)[:, None]] = 0
    times = np.sort(rng.integers(1, now + 1, rows.shape), axis=1) * (rows > 0)
    requests = np.resize([0, now], len(rows)).astype(np.int64)
    yield bundle.model.users.encode([{}] * len(rows)), rows, times, requests
    for place, number in enumerate(lengths):
        width = slice(length - max(number, 1), None)
        alone = rows[place : place + 1, width], times[place : place + 1, width]
        yield bundle.model.users.encode([{}]), *alone, requests[place : place + 1]


def _items(model: TwoTower, rng: np.random.Generator) -> Iterator[dict[str, Tensor]]:
    """Yield batches: items of the catalogue as if new, then without one feature or any."""
    num_items = model.items.num_rows
    rows = torch.from_numpy(rng.choice(num_items, min(NUM_DRAWN, num_items), replace=False) + 1)
    unknown = model.items.encode([{}])
    for batch in rows.split(BATCH):
        yield model.items.gather(batch)
    one = model.items.gather(rows[:1])
    yield one
    yield unknown
    for name, missing in unknown.items():
        yield one | {name: missing}


def _of_users(model: TwoTower, exported: ExportedTowers, case: Users) -> float:
    features, rows, times, requests = case
    expected = model.encode_user_features(features, *map(torch.from_numpy, (rows, times, requests)))
    return _difference(expected, exported.embed_users(*case))


def _of_items(model: TwoTower, exported: ExportedTowers, case: dict[str, Tensor]) -> float:
    embeddings, vectors = exported.embed_items(case)
    expected = model.encode_item_features(case)
    difference = _difference(expected, embeddings)
    if model.history.config.items == "tower":
        return max(difference, _difference(model.layout.tower(expected), vectors))
    return difference


def _difference(expected: Tensor, found: NDArray[np.float32]) -> float:
    """Return the largest difference, in units of the largest number where that is above 1.

    Of numbers about 100 two orders of addition differ by 1e-5 already: float32 tells no more.
    """
    assert expected.shape == found.shape
    right = expected.float().numpy()
    return float(np.abs(right - found).max() / max(1.0, float(np.abs(right).max())))
