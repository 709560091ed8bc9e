"""Check raw features of users and items, and embed them with the towers of a bundle.

Shapes: B users or items, L history positions, R history vectors, H their width, W width of a feature,
D embedding.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.data.source_column import fits_64_bits
from twotower.model.features.feature_table import FeatureTable
from twotower.model.towers.two_tower import TwoTower
from twotower.model.towers.user_batch import UserBatch

MAX_VALUE = 1e15
"""Scores of embeddings with smaller values are finite in float32."""
NOT_FINITE = "is not finite or too large; give values in the range of the training data"
Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
NOTHING: Mapping[str, Any] = MappingProxyType({})
FEATURES, CONTEXT = "features", "context"  # parts of a request


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
    """Embed users -> [B, D].

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
    """Return which embeddings [B, D] give finite scores, [B]; extreme feature values may not."""
    valid: NDArray[np.bool_] = np.abs(embeddings).max(axis=1, initial=0.0) < MAX_VALUE
    return valid  # False for NaN


def checked_features(
    table: FeatureTable,
    records: Sequence[Mapping[str, Any]],
    key: str,
    others: Iterable[str] = (),
    part: str = FEATURES,
) -> list[dict[str, Any]]:
    """Return raw feature values by column of users, items or contexts, without missing ones.

    Raises InputError for a column that no feature reads and that is not in `others`, for the id column
    `key`, and for a value that a feature cannot read. `part` is the part of the request, for messages.
    """
    known, given = (table.columns | set(others)) - {key}, []
    for record in records:
        if not isinstance(record, Mapping):
            raise InputError(f"{part}: expected column: value pairs, got {record!r:.80}")
        for column in record:
            if column not in known:
                raise InputError(
                    f"{part}: {column!r:.80} is not a feature of this model; {nearest(str(column), known)}"
                )
        values = {column: value for column, value in record.items() if not is_missing(value)}
        for column, value in values.items():
            numbers = value if isinstance(value, list | tuple) else [value]
            if not all(fits_64_bits(each) for each in numbers if isinstance(each, int)):
                raise InputError(
                    f"{part}: column {column!r}: expected whole numbers of 64 bits, got a longer one"
                )
        given.append(values)
    for feature in table.table_features.values():
        if present := [each[feature.column] for each in given if feature.column in each]:
            feature.check(pd.Series(present, dtype=object), part)
    return given


def is_missing(value: Any) -> bool:
    """Return whether a raw value is None, NA, NaT or NaN."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
