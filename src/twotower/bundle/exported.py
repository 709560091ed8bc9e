"""The exported towers of a bundle, run by ONNX Runtime, and what histories see of items.

Shapes: B users or items, L history positions, N items, W width of a feature, D embedding, H history vector.
"""

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.arrays_and_tables import read_array
from twotower.bundle.manifest import REMEDY
from twotower.bundle.onnx_files import (
    EMBEDDING,
    EVENTS,
    HISTORY,
    MASK,
    REQUEST_TIME,
    TIMES,
    TOWER_OUTPUT,
    feature_input,
    user_inputs,
)
from twotower.bundle.read import Bundle
from twotower.config.errors import InputError
from twotower.towers.two_tower import TwoTower

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
SPARE_ROWS, MOMENTS = 1024, 64


def history_vectors(model: TwoTower, item_embeddings: Floats) -> Floats:
    """Return what a history sees of each item, [N + 1, H]; zeros for row 0 and items it does not know."""
    if not model.history.config.length:
        return np.zeros((len(item_embeddings) + 1, 0), dtype=np.float32)
    if model.history.config.reads_table:
        vectors = model.history_table.weight.detach().numpy() * model.trained_items.numpy()[:, None]
        vectors[0] = 0
        return np.asarray(vectors, dtype=np.float32)
    return np.pad(model.layout.tower(item_embeddings), ((1, 0), (0, 0)))


class HistoryVectors:
    """History vectors of the items of a bundle and of those that came in since; safe from several threads.

    Where the history encoder has a table of its own, only items that training saw are anything to it.
    `vectors` [num_rows + 1 or more, H] have room for more than the highest row that there is.
    """

    def __init__(self, model: TwoTower, vectors: Floats) -> None:
        self._grows = model.history.config.reads_towers
        self.vectors = vectors
        self._seen = np.ones(len(vectors), dtype=np.bool_)
        if not self._grows:
            self._seen[:] = model.trained_items.numpy()
        self._seen[0] = False
        self.num_rows = len(vectors) - 1
        self._growing = threading.Lock()

    def seen(self, rows: Integers) -> NDArray[np.bool_]:
        """Return which positions [B, L] hold an item that a history sees."""
        found: NDArray[np.bool_] = self._seen[rows]
        return found

    def of_new(self, tower_outputs: Floats) -> Floats:
        """Return what histories see of new items whose tower says [B, H']: zeros beside a table."""
        if self._grows:
            return tower_outputs
        return np.zeros((len(tower_outputs), self.vectors.shape[1]), dtype=np.float32)

    def append(self, vectors: Floats) -> None:
        """Take in the vectors of the next rows, [B, H]."""
        assert vectors.shape[1] == self.vectors.shape[1]
        with self._growing:
            start, end = self.num_rows + 1, self.num_rows + 1 + len(vectors)
            if end > len(self.vectors):
                spare = max(SPARE_ROWS, end // 4) + end - len(self.vectors)
                self._seen = np.pad(self._seen, (0, spare))
                self.vectors = np.pad(self.vectors, ((0, spare), (0, 0)))
            self.vectors[start:end] = vectors
            self._seen[start:end] = self._grows
            self.num_rows = end - 1  # last: until now nobody may ask for the new rows


class ExportedTowers:
    """Embeds users and items as `TwoTower` does, to 1e-5; safe from several threads.

    Histories are read from a growing array of item vectors, so the graph is given no item rows: those are
    checked here, where a wrong one is an error and not another item. A call may use as many threads as torch
    does (unless told), so that the two do not fight. An InputError: ONNX Runtime is not installed, or a
    file is not what an export writes.
    """

    def __init__(self, bundle: Bundle, num_threads: int | None = None) -> None:
        model, folder = bundle.model, bundle.folder
        self.length = model.history.config.length
        self._with_request = model.with_request
        # Many requests that come alone are of one moment; encoding it takes a seventh of one.
        self._moment = functools.lru_cache(maxsize=MOMENTS)(
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
        self._history = HistoryVectors(model, read_array(folder / layout.HISTORY_VECTORS))

    def embed_users(
        self,
        features: dict[str, Tensor],
        history_rows: Integers,
        history_times: Integers,
        request_times: Integers,
        history_events: Integers | None = None,
    ) -> Floats:
        """Embed users -> [B, D].

        Args:
            features: encoded, by name, as a `FeatureTable` gives them, each [B, W]; of the context those that
                are known.
            history_rows: [B, L] item rows, right-aligned, 0 = padding; L is at most `length`.
            history_times: [B, L] unix seconds.
            request_times: [B] unix seconds, 0 = not known.
            history_events: [B, L] what was done with each item, from 1, 0 = not known; None: all are.

        Raises:
            InputError: a row is of no item, or a history is too long.
        """
        rows = self._checked(history_rows)
        if not len(rows):
            return np.zeros((0, int(self._user_tower.get_outputs()[0].shape[1])), dtype=np.float32)
        mask = self._history.seen(rows)
        there: NDArray[np.bool_] = np.asarray(mask.any(0))
        first = int(there.argmax()) if there.any() else len(there) - 1  # what all pad alike is left out
        rows, mask = rows[:, first:], mask[:, first:]
        asked = np.asarray(request_times, np.int64)
        if len(rows) == 1:
            feed = _feed(self._moment(int(asked[0])) | features)
        else:
            feed = _feed(self._with_request(features, torch.from_numpy(asked)))
        # The rows are checked; `take` then copies twice as fast as indexing does.
        feed[HISTORY] = self._history.vectors.take(np.where(mask, rows, 0), axis=0, mode="clip")
        feed[MASK] = mask
        feed[TIMES] = np.where(mask, np.asarray(history_times, np.int64)[:, first:], 0)
        if self._reads_request_times:
            feed[REQUEST_TIME] = asked
        if self._reads_events:
            events = np.zeros(rows.shape, np.int64) if history_events is None else history_events[:, first:]
            feed[EVENTS] = np.where(mask, events, 0)
        found: Floats = self._user_tower.run([EMBEDDING], feed)[0]
        return found

    def embed_items(self, encoded: dict[str, Tensor]) -> tuple[Floats, Floats]:
        """Embed new items from encoded features [B, W] -> [B, D], and what a history sees of them [B, H]."""
        embeddings, outputs = self._item_tower.run([EMBEDDING, TOWER_OUTPUT], _feed(encoded))
        return embeddings, self._history.of_new(outputs)

    def append(self, history_vectors: Floats) -> None:
        """Take in what histories see of the next rows of the catalogue, [B, H]."""
        self._history.append(history_vectors)

    def _checked(self, history_rows: Integers) -> Integers:
        rows = np.asarray(history_rows, dtype=np.int64)
        least = min(1, self.length)
        if rows.ndim != 2 or not least <= rows.shape[1] <= self.length:
            raise InputError(
                f"history_rows: expected {least} to {self.length} positions, found shape {rows.shape}; "
                f"keep the latest {self.length}"
            )
        # ONNX Runtime, and numpy, would take a negative row for one counted from the end.
        num_rows = self._history.num_rows
        if rows.size and (rows.min() < 0 or rows.max() > num_rows):
            wrong = rows[(rows < 0) | (rows > num_rows)][0]
            raise InputError(f"history_rows: expected rows 0 to {num_rows}, found {wrong}")
        return rows


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
