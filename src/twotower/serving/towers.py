"""Embeddings of requests and new items.

Shapes: B users or items, L history positions, R history vectors, H their width, W width of a feature,
D embedding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.errors import InputError
from twotower.serving.live_items import Floats, Rows
from twotower.towers.two_tower import TwoTower
from twotower.towers.user_batch import UserBatch

MAX_VALUE = 1e15
"""Scores of embeddings with smaller values are finite in float32."""


NOT_FINITE = "is not finite or too large; give values in the range of the training data"


class HistoryInputs(NamedTuple):
    """Histories as a user tower reads them, right-aligned.

    Attributes:
        vectors: [R, H]; see `gather_history_vectors`.
        positions: [B, L] in the vectors, 0 = none.
        times: [B, L] unix seconds.
        events: codes of event types [B, L] from 1, 0 = unknown; None = all are unknown.
    """

    vectors: Floats
    positions: Rows
    times: Rows
    events: Rows | None = None


def embed_users(
    model: TwoTower, features: dict[str, Tensor], history: HistoryInputs, request_times: Rows
) -> Floats:
    """Embed users -> [B, D], or [B, K, D] if the tower has K interests above 1.

    Args:
        model: the towers.
        features: encoded, by name, as a `FeatureTable` gives them, each [B, W]; features of the context are
            optional.
        history: the histories.
        request_times: [B] unix seconds, 0 = unknown.
    """
    vectors, positions, times = map(torch.from_numpy, history[:3])
    events = None if history.events is None else torch.from_numpy(history.events)
    with torch.inference_mode():
        batch = UserBatch.from_features(features, positions, times, torch.from_numpy(request_times), events)
        embeddings: Floats = model.encode_users(batch, vectors).float().numpy()
    return embeddings


def embed_items(model: TwoTower, encoded: dict[str, Tensor]) -> Floats:
    """Embed new items from encoded features, each [B, W] -> [B, D]."""
    with torch.inference_mode():
        embeddings: Floats = model.encode_item_features(encoded).float().numpy()
    return embeddings


def check_embeddings(embeddings: Floats, name: str, keys: Sequence[object]) -> None:
    """Raise InputError if an embedding [B, D] of users or items gives scores that are not finite."""
    for key, is_valid in zip(keys, are_valid(embeddings), strict=True):
        if not is_valid:
            raise InputError(f"features: the embedding of {name} {key!r:.80} {NOT_FINITE}")


def are_valid(embeddings: Floats) -> NDArray[np.bool_]:
    """Return which embeddings [B, D] or [B, K, D] give finite scores, [B]; extreme feature values may not."""
    values = embeddings.reshape(len(embeddings), embeddings[:1].size)
    valid: NDArray[np.bool_] = np.abs(values).max(axis=1, initial=0.0) < MAX_VALUE
    return valid  # False for NaN
