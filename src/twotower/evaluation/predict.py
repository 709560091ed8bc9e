"""Embeddings of the catalogue and of holdout users, and their top lists.

Shapes: N items, D embedding, Q users of a holdout, b of a chunk.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.ranking import seen_pairs
from twotower.evaluation.top_k import exact_top_k
from twotower.towers.two_tower import TwoTower
from twotower.towers.user_batch import UserBatch

CHUNK, RANKED_AT_ONCE = 8192, 4096  # users or items
CHUNK_PLACES = 2**23  # of the histories of a chunk of users: where they are long, there are fewer users


@torch.inference_mode()
def encode_catalogue(model: TwoTower) -> Tensor:
    """Embed every item; the item of row r stands at r - 1. Returns float32 [N, D]."""
    training = model.training
    model.eval()
    device = model.trained_items.device
    rows = torch.arange(1, len(model.trained_items), device=device)
    embeddings = torch.cat([model.encode_items(chunk).float() for chunk in rows.split(CHUNK)])
    model.train(training)
    return embeddings


def encode_holdout(model: TwoTower, holdout: Holdout, positions: np.ndarray) -> Tensor:
    """Embed users at positions [b] of a holdout at their request times. Returns float32 [b, D]."""
    users, request_times = holdout.users[positions], holdout.request_times[positions]
    context = None if holdout.context is None else holdout.context[positions]
    return encode_at(model, holdout.history, users, request_times, context)


@torch.inference_mode()
def encode_at(
    model: TwoTower,
    history: Interactions,
    users: np.ndarray,
    request_times: np.ndarray,
    context: np.ndarray | None = None,
) -> Tensor:
    """Embed users [b] with a history, at the times and in the contexts [b] of requests, float32 [b, D]."""
    training = model.training
    model.eval()
    device = model.trained_items.device
    users = np.asarray(users, dtype=np.int64)
    rows, times = history.last(users, model.history.config.length)
    events = history.last_events(users, model.history.config.length)
    batch = UserBatch(
        torch.from_numpy(users),
        torch.from_numpy(rows),
        torch.from_numpy(times),
        torch.from_numpy(np.asarray(request_times, dtype=np.int64)),
        None if context is None else torch.from_numpy(np.asarray(context, dtype=np.int64)),
        None if events is None else torch.from_numpy(events),
    )
    embeddings = model.encode_users(batch.to(device))
    model.train(training)
    return embeddings.float()


def encode_every_user(model: TwoTower, holdout: Holdout) -> NDArray[np.float32]:
    """Embed all users of a holdout, in chunks. Returns float32 [Q, D]."""
    every = np.arange(len(holdout.users))
    chunk = min(CHUNK, max(1, CHUNK_PLACES // max(1, model.history.config.length)))
    chunks = np.split(every, range(chunk, len(every), chunk))
    return np.concatenate([encode_holdout(model, holdout, chunk).cpu().numpy() for chunk in chunks])


def top_rows(
    model: TwoTower, items: Tensor, holdout: Holdout, positions: np.ndarray, k: int, filter_seen: bool
) -> tuple[Tensor, np.ndarray]:
    """Return embeddings [b, D] of users at positions [b] of a holdout, and the best item rows [b, k]."""
    users = encode_holdout(model, holdout, positions)
    exclude = seen_pairs(holdout.history, holdout.users[positions]) if filter_seen else None
    rows, _ = exact_top_k(users, items, k, exclude)
    return users, rows


def rank_all(
    model: TwoTower, items: Tensor, holdout: Holdout, k: int, filter_seen: bool, why: str
) -> tuple[Tensor, np.ndarray]:
    """Rank the catalogue for every user of a holdout: embeddings [Q, D] and item rows [Q, k].

    `why` labels the progress line.
    """
    every = np.arange(len(holdout.users))
    chunks = np.split(every, range(RANKED_AT_ONCE, len(every), RANKED_AT_ONCE))
    found = []
    with Progress(f"{why}: ranking the catalogue for users", len(every)) as advance:
        for chunk in chunks:
            found.append(top_rows(model, items, holdout, chunk, k, filter_seen))
            advance(int(chunk.max(initial=-1)) + 1)
    return torch.cat([users for users, _ in found]), np.concatenate([rows for _, rows in found])
