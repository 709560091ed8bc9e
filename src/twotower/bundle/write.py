"""Write the bundle of a run, under a temporary name that is synced and renamed."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors.torch import save_file
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.manifest import list_files, render
from twotower.config.errors import InputError
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.files.atomic import replace_folder, temporary_folder
from twotower.files.plain_values import yaml_text
from twotower.index.faiss_index import faiss_versions
from twotower.index.index import Index
from twotower.towers.two_tower import TwoTower

SIMILARITY = "dot"
DISTRIBUTIONS = ("twotower", "torch", "numpy", "pandas", "safetensors")


def write_bundle(
    folder: Path,
    *,
    settings: Mapping[str, Any],
    fingerprint: str,
    model: TwoTower,
    index: Index,
    item_embeddings: np.ndarray,
    dataset: RetrievalDataset,
    history: Interactions,
    index_report: Mapping[str, Any],
    request_time: int,
    held_out_interactions: int = 0,
) -> None:
    """Write a bundle atomically. Raises InputError if the folder exists.

    Args:
        index: of the catalogue, with search arguments; its ids are the rows 1 to N.
        item_embeddings: float32 [N, D]; row r is at position r - 1.
        history: of every user at serving time.
        request_time: default time of a request, in unix seconds.
        held_out_interactions: number of interactions of the log that the history lacks.
    """
    if folder.exists():
        raise InputError(f"{folder}: already there, and a bundle is never overwritten; choose another folder")
    assert item_embeddings.shape == (len(dataset.items), settings["embedding_dim"])
    manifest = {
        "format_version": layout.FORMAT_VERSION,
        "fingerprint": fingerprint,
        "similarity": SIMILARITY,
        "embedding_dim": item_embeddings.shape[1],
        "num_items": len(dataset.items),
        "num_users": len(dataset.users),
        "item_label": dataset.item_label,
        "request_time": int(request_time),
        "known_until": int(history.times.max()) if dataset.has_times and len(history) else None,
        "held_out_interactions": held_out_interactions,
        "exclude_seen": not dataset.repeats,
        "has_times": dataset.has_times,
        "index": {
            "spec": index.config.spec(),
            "search_args": index.search_args,
            "report": dict(index_report),
        },
        "versions": versions(),
        **_of_requests(settings, dataset, model),
    }
    with temporary_folder(folder) as temporary:
        (temporary / layout.CONFIG).write_text(yaml_text(dict(settings)), encoding="utf-8")
        # Not sorted: the order of features is the order in which a tower joins them.
        features = {"user": model.users.to_json(), "item": model.items.to_json()}
        if model.contexts.names:
            features["context"] = model.contexts.to_json()
        text = json.dumps(features, ensure_ascii=False, allow_nan=False)
        (temporary / layout.FEATURES).write_text(text, encoding="utf-8")
        _write_tensors(temporary, model)
        _write_table(temporary / layout.USERS, dataset.user_table)
        _write_table(temporary / layout.ITEMS, dataset.item_table)
        names = [*layout.FILES, *_write_history(temporary, history)]
        np.save(temporary / layout.ITEM_EMBEDDINGS, np.ascontiguousarray(item_embeddings, dtype=np.float32))
        index.save(temporary / layout.INDEX)
        # safetensors makes files readable for the owner only; all files get the mode of the configuration.
        mode = (temporary / layout.CONFIG).stat().st_mode & 0o777
        for name in names:
            (temporary / name).chmod(mode)
        manifest["files"] = list_files(temporary, names)
        (temporary / layout.MANIFEST).write_text(render(manifest), encoding="utf-8")
        replace_folder(temporary, folder)


def versions() -> dict[str, Any]:
    """Return the versions of the libraries that embed and search."""
    return {name: importlib.metadata.version(name) for name in DISTRIBUTIONS} | faiss_versions()


def _of_requests(settings: Mapping[str, Any], dataset: RetrievalDataset, model: TwoTower) -> dict[str, Any]:
    """Return the manifest keys of contexts and event types, if any."""
    found: dict[str, Any] = {}
    if model.contexts.names:
        found["num_contexts"] = model.contexts.num_rows
    if dataset.events:
        events = Source.Config.from_spec(settings["data"], "data").events
        found["event_types"] = list(dataset.events)
        found["event_roles"] = {word: event.role for word, event in events.items()}
    return found


def _write_history(folder: Path, history: Interactions) -> list[str]:
    """Write the histories; returns the names of files that only some bundles have."""
    for name, values in zip(layout.HISTORY, (history.offsets, history.items, history.times), strict=True):
        np.save(folder / name, np.asarray(values))
    more = {layout.HISTORY_EVENTS: history.events, layout.HISTORY_ROLES: history.roles}
    found = {name: values for name, values in more.items() if values is not None}
    for name, values in found.items():
        np.save(folder / name, np.asarray(values))
    return list(found)


def _write_tensors(folder: Path, model: TwoTower) -> None:
    state = {name: _storable_tensor(values) for name, values in model.state_dict().items()}
    save_file(state, folder / layout.TOWERS)
    encoded = {
        f"{side}.{name}": _storable_tensor(values)
        for side, table in (("user", model.users), ("item", model.items), ("context", model.contexts))
        for name, values in table.all_rows().items()
    }
    save_file(encoded, folder / layout.ENCODED)


def _storable_tensor(values: Tensor) -> Tensor:
    return values.detach().cpu().contiguous().clone()


def _write_table(path: Path, table: pd.DataFrame) -> None:
    columns = {str(name): _storable_column(table[name]) for name in table.columns}
    pd.DataFrame(columns).reset_index(drop=True).to_parquet(path, index=False)


def _storable_column(values: pd.Series) -> pd.Series:
    """Return a column that Parquet can store: values of mixed types become text.

    The tables are for display; the towers read the encoded features.
    """
    if values.dtype != object:
        return values
    try:
        pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError):
        return values.map(str, na_action="ignore").astype("str")
    return values
