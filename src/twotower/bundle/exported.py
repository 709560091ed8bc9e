"""The exported towers of a bundle, run by ONNX Runtime.

Shapes: B users or items, L history positions, W width of a feature, D embedding, H history vector.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.history_vectors import Booleans, Floats, Integers
from twotower.bundle.manifest import REMEDY
from twotower.bundle.onnx_files import (
    EMBEDDING,
    EVENTS,
    HISTORY,
    MASK,
    REQUEST_TIME,
    TIMES,
    feature_input,
    user_inputs,
)
from twotower.bundle.read import Bundle
from twotower.config.errors import InputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MOMENTS = 64
"""Request times whose encoded features are cached."""


class ExportedTowers:
    """Embeds users and items as `TwoTower` does, to 1e-5. Thread-safe.

    Args:
        bundle: an exported bundle.
        num_threads: of one call; None = as many as torch uses, so that the two do not compete.

    Raises:
        InputError: ONNX Runtime is not installed, or a file differs from what an export writes.
    """

    def __init__(self, bundle: Bundle, num_threads: int | None = None) -> None:
        model, folder = bundle.model, bundle.folder
        self._dim = bundle.manifest.embedding_dim
        self._with_request = model.with_request
        # Encoding a time takes a seventh of a request, and many single requests have the same time.
        self._time_features = functools.lru_cache(maxsize=MOMENTS)(
            lambda time: model.with_request({}, torch.tensor([time]))
        )
        self._reads_events = model.history.config.events
        self._reads_request_times = model.history.config.reads_request_times
        names = model.users.names + model.contexts.names
        inputs = {*map(feature_input, names), *user_inputs(model)}
        num_threads = num_threads or torch.get_num_threads()
        self._user_tower = _session(folder / layout.USER_TOWER, inputs, num_threads)
        self._item_tower = _session(
            folder / layout.ITEM_TOWER, {*map(feature_input, model.items.names)}, num_threads
        )

    def embed_users(
        self,
        features: dict[str, Tensor],
        history_vectors: Floats,
        history_mask: Booleans,
        history_times: Integers,
        request_times: Integers,
        history_events: Integers | None = None,
    ) -> Floats:
        """Embed users -> [B, D].

        Args:
            features: encoded, by name, as a `FeatureTable` gives them, each [B, W]; features of the context
                are optional.
            history_vectors: [B, L, H] right-aligned, zeros where masked; see `gather_history_vectors`.
            history_mask: [B, L] False = padding, or an item that the history encoder does not know.
            history_times: [B, L] unix seconds.
            request_times: [B] unix seconds, 0 = unknown.
            history_events: [B, L] codes of event types from 1, 0 = unknown; None: all are unknown.
        """
        num_users, length = history_mask.shape
        if not num_users:
            return np.zeros((0, self._dim), dtype=np.float32)
        present = history_mask.any(0)
        first = int(present.argmax()) if present.any() else max(length - 1, 0)
        recent = (slice(None), slice(first, None))  # positions that are padding for all users are left out
        mask = history_mask[recent]
        asked = np.asarray(request_times, np.int64)
        if num_users == 1:
            feed = _feed(self._time_features(int(asked[0])) | features)
        else:
            feed = _feed(self._with_request(features, torch.from_numpy(asked)))
        feed[HISTORY] = np.ascontiguousarray(history_vectors[recent])
        feed[MASK] = mask
        feed[TIMES] = np.where(mask, np.asarray(history_times[recent], np.int64), 0)
        if self._reads_request_times:
            feed[REQUEST_TIME] = asked
        if self._reads_events:
            events = np.zeros(mask.shape, np.int64) if history_events is None else history_events[recent]
            feed[EVENTS] = np.where(mask, events, 0)
        found: Floats = self._user_tower.run([EMBEDDING], feed)[0]
        return found

    def embed_items(self, encoded: dict[str, Tensor]) -> Floats:
        """Embed new items from encoded features [B, W] -> [B, D]."""
        embeddings: Floats = self._item_tower.run([EMBEDDING], _feed(encoded))[0]
        return embeddings


def _feed(features: dict[str, Tensor]) -> dict[str, Any]:
    return {feature_input(name): values.numpy() for name, values in features.items()}


def _session(path: Path, inputs: set[str], num_threads: int) -> "InferenceSession":
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "an exported bundle needs ONNX Runtime, which is not installed; pip install 'twotower[serve]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's errors have no class in common
        raise InputError(f"{path}: not readable by ONNX Runtime ({error!s:.200}); {REMEDY}") from error
    found = {each.name for each in session.get_inputs()}
    if found != inputs:
        raise InputError(f"{path}: expected inputs {sorted(inputs)}, found {sorted(found)}; {REMEDY}")
    return session
