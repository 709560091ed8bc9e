"""The towers of a bundle, by whatever runs them.

Shapes: B users or items, L history positions, N items, W width of a feature, D embedding, H history vector.
"""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.bundle.exported import HistoryVectors, history_vectors
from twotower.bundle.read import Bundle
from twotower.serving.live_items import Floats, Rows
from twotower.towers.user_batch import UserBatch

if TYPE_CHECKING:
    from twotower.bundle.exported import ExportedTowers


LARGEST = 1e15
"""A score of embeddings whose numbers are below this is finite in float32."""


class TorchTowers:
    """The towers of a bundle, run by torch; they look at the latest L items of a history, `length`.

    Safe from several threads, but for `append`, which is called alone. Histories are read from vectors, which
    grow in place, so no item is embedded twice.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model
        self.length = self._model.history.config.length
        self._history = HistoryVectors(self._model, history_vectors(self._model, bundle.item_embeddings))

    def embed_users(
        self,
        features: dict[str, Tensor],
        history_rows: Rows,
        history_times: Rows,
        request_times: Rows,
        history_events: Rows | None = None,
    ) -> Floats:
        """Embed users, [B, D].

        Features are as `users.gather` or `users.encode` give them, each [B, W], and those of the context that
        are known; history rows, times and events [B, L] are right-aligned, 0 = padding; times are unix
        seconds.
        """
        rows = np.where(self._history.seen(history_rows), history_rows, 0)
        with torch.inference_mode():
            batch = UserBatch.from_features(
                features,
                torch.from_numpy(rows),
                torch.from_numpy(history_times),
                torch.from_numpy(request_times),
                None if history_events is None else torch.from_numpy(history_events),
            )
            users = self._model.encode_users(batch, torch.from_numpy(self._history.vectors))
        return _array(users)

    def embed_items(self, encoded: dict[str, Tensor]) -> tuple[Floats, Floats]:
        """Embed new items from encoded features [B, W]: [B, D], and what a history sees of them [B, H].

        The latter is zeros where its encoder has a table of its own.
        """
        with torch.inference_mode():
            embeddings = _array(self._model.encode_item_features(encoded))
        return embeddings, self._history.of_new(self._model.layout.tower(embeddings))

    def append(self, history_vectors: Floats) -> None:
        """Take in what histories see of the next rows of the catalogue, [B, H]."""
        self._history.append(history_vectors)


ServingTowers: TypeAlias = "TorchTowers | ExportedTowers"


def towers_of(bundle: Bundle) -> ServingTowers:
    """Return the exported towers of a bundle that has some, else its towers in torch."""
    if bundle.manifest.export is None:
        return TorchTowers(bundle)
    from twotower.bundle.exported import ExportedTowers  # ONNX Runtime is only needed here

    return ExportedTowers(bundle)


def are_valid(embeddings: Floats) -> NDArray[np.bool_]:
    """Return which embeddings [B, D] every score can be computed of; odd features can make others, [B]."""
    found: NDArray[np.bool_] = np.abs(embeddings).max(axis=1, initial=0.0) < LARGEST
    return found  # NaN is not below anything


def _array(values: Tensor) -> Floats:
    found: Floats = values.float().numpy()
    return found
