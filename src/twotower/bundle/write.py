"""Write the bundle of a run, under a temporary name that is synced and renamed."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.manifest import list_files, render
from twotower.config.errors import InputError
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.evaluation.indexing import Indexed
from twotower.files.atomic import replace_folder, temporary_folder
from twotower.files.plain_values import yaml_text
from twotower.index.faiss_index import faiss_versions
from twotower.model.towers.two_tower import TwoTower

DISTRIBUTIONS = ("twotower", "torch", "numpy", "pandas", "safetensors")


def write_bundle(
    folder: Path,
    settings: Mapping[str, Any],
    model: TwoTower,
    indexed: Indexed,
    dataset: RetrievalDataset,
    interactions: Interactions,
    request_time: int,
    num_held_out: int,
) -> None:
    """Write a bundle atomically, with an index of rows 1 to N. Raises InputError if the folder exists.

    `interactions` are the histories of users, which lack `num_held_out` interactions of the log.
    `request_time` is the default time of requests, in unix seconds.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists, and bundles are not overwritten; choose another folder")
    index = indexed.index
    manifest = {
        "format_version": layout.FORMAT_VERSION,
        "similarity": "dot",
        "embedding_dim": indexed.vectors.shape[1],
        "num_items": len(dataset.items),
        "num_users": len(dataset.users),
        "item_label": dataset.item_label,
        "request_time": request_time,
        "known_until": int(interactions.times.max()) if dataset.has_times and len(interactions) else None,
        "held_out_interactions": num_held_out,
        "exclude_seen": not dataset.repeats,
        "has_times": dataset.has_times,
        "index": {
            "spec": index.config.spec(),
            "search_args": index.search_args,
            "report": indexed.report.to_dict(),
        },
        "versions": versions(),
        "num_contexts": model.contexts.num_rows,
    }
    if dataset.events:
        events = Source.Config.from_spec(settings["data"], "data").events
        manifest["event_types"] = list(dataset.events)
        manifest["event_roles"] = {name: event.role for name, event in events.items()}
    with temporary_folder(folder) as temporary:
        (temporary / layout.CONFIG).write_text(yaml_text(dict(settings)), encoding="utf-8")
        # Not sorted: the order of features is the order in which a tower joins them.
        tables = {"user": model.users, "item": model.items, "context": model.contexts}
        features = {side: table.to_json() for side, table in tables.items()}
        text = json.dumps(features, ensure_ascii=False, allow_nan=False)
        (temporary / layout.FEATURES).write_text(text, encoding="utf-8")
        _save_tensors(model.state_dict(), temporary / layout.TOWERS)
        encoded = {
            f"{side}.{name}": values
            for side, table in tables.items()
            for name, values in table.all_rows().items()
        }
        _save_tensors(encoded, temporary / layout.ENCODED)
        dataset.user_table.to_parquet(temporary / layout.USERS, index=False)
        dataset.item_table.to_parquet(temporary / layout.ITEMS, index=False)
        arrays = {
            layout.ITEM_EMBEDDINGS: np.ascontiguousarray(indexed.vectors, dtype=np.float32),
            layout.HISTORY_OFFSETS: interactions.offsets,
            layout.HISTORY_ITEMS: interactions.items,
            layout.HISTORY_TIMES: interactions.times,
            layout.HISTORY_EVENTS: interactions.events,
            layout.HISTORY_ROLES: interactions.roles,
        }
        present = {name: values for name, values in arrays.items() if values is not None}
        for name, values in present.items():
            np.save(temporary / name, np.asarray(values))
        index.save(temporary / layout.INDEX)
        # safetensors makes files readable for the owner only; all files get the mode of the configuration.
        mode = (temporary / layout.CONFIG).stat().st_mode & 0o777
        names = dict.fromkeys([*layout.FILES, *present])
        for name in names:
            (temporary / name).chmod(mode)
        manifest["files"] = list_files(temporary, names)
        (temporary / layout.MANIFEST).write_text(render(manifest), encoding="utf-8")
        replace_folder(temporary, folder)


def versions() -> dict[str, Any]:
    """Return the versions of the libraries that embed and search."""
    return {name: importlib.metadata.version(name) for name in DISTRIBUTIONS} | faiss_versions()


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    # Copies, because safetensors refuses tensors that share memory.
    copies = {name: values.detach().cpu().contiguous().clone() for name, values in tensors.items()}
    save_file(copies, path)
