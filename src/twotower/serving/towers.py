"""The towers of a bundle, run by torch or ONNX Runtime.

Shapes: B users or items, L history positions, W width of a feature, D embedding.
"""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.bundle.history_vectors import Booleans
from twotower.bundle.read import Bundle
from twotower.serving.live_items import Floats, Rows
from twotower.towers.user_batch import UserBatch

if TYPE_CHECKING:
    from twotower.bundle.exported import ExportedTowers


LARGEST = 1e15
"""Scores of embeddings with smaller values are finite in float32."""


class TorchTowers:
    """The towers of a bundle, run by torch. Thread-safe."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model

    def embed_users(
        self,
        features: dict[str, Tensor],
        history_vectors: Floats,
        history_mask: Booleans,
        history_times: Rows,
        request_times: Rows,
        history_events: Rows | None = None,
    ) -> Floats:
        """Embed users -> [B, D]; see `ExportedTowers.embed_users`."""
        vectors, mask = torch.from_numpy(history_vectors), torch.from_numpy(history_mask)
        table = torch.cat([vectors.new_zeros(1, vectors.shape[2]), vectors.flatten(0, 1)])
        with torch.inference_mode():
            batch = UserBatch.from_features(
                features,
                torch.arange(1, len(table)).view_as(mask) * mask,
                torch.from_numpy(history_times),
                torch.from_numpy(request_times),
                None if history_events is None else torch.from_numpy(history_events),
            )
            users = self._model.encode_users(batch, table)
        return _array(users)

    def embed_items(self, encoded: dict[str, Tensor]) -> Floats:
        """Embed new items from encoded features [B, W] -> [B, D]."""
        with torch.inference_mode():
            return _array(self._model.encode_item_features(encoded))


ServingTowers: TypeAlias = "TorchTowers | ExportedTowers"


def open_towers(bundle: Bundle) -> ServingTowers:
    """Return the exported towers of an exported bundle, otherwise its towers in torch."""
    if bundle.manifest.export is None:
        return TorchTowers(bundle)
    from twotower.bundle.exported import ExportedTowers

    return ExportedTowers(bundle)


def are_valid(embeddings: Floats) -> Booleans:
    """Return which embeddings [B, D] give finite scores, [B]; extreme feature values may not."""
    found: Booleans = np.abs(embeddings).max(axis=1, initial=0.0) < LARGEST
    return found  # False for NaN


def _array(values: Tensor) -> Floats:
    found: Floats = values.float().numpy()
    return found
