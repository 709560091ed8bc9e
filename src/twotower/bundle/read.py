"""Verify and read a bundle: towers, index and catalogue.

Shapes: N users or items, W width of a feature, D embedding.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from twotower.bundle import layout
from twotower.bundle.arrays_and_tables import make_vocabulary, read_array, read_table
from twotower.bundle.manifest import REMEDY, Manifest, refusing, verify
from twotower.bundle.tensors import read_towers
from twotower.config.errors import InputError
from twotower.config.trust import check_targets
from twotower.data.interactions import Interactions
from twotower.data.vocabulary import Vocabulary
from twotower.features.feature_table import FeatureTable
from twotower.files.plain_values import read_yaml
from twotower.index.index import Index
from twotower.towers.two_tower import TwoTower
from twotower.towers.user_batch import UserBatch


@dataclass(frozen=True, eq=False)
class Bundle:
    """The content of a bundle.

    Args:
        settings: the resolved configuration of its run.
        model: trained towers in eval mode, without gradients.
        index: over the catalogue, search arguments set; its ids are rows.
        item_embeddings: float32 [N, D]; row r is at position r - 1.
        history: interactions of each user; memory-mapped.
        request_time: default time of a request, in unix seconds.
    """

    folder: Path
    manifest: Manifest
    settings: dict[str, Any]
    model: TwoTower
    index: Index
    item_embeddings: np.ndarray
    users: Vocabulary
    items: Vocabulary
    user_table: pd.DataFrame
    item_table: pd.DataFrame
    item_label: str | None
    history: Interactions
    request_time: int


def read_bundle(folder: Path, trusted_packages: Collection[str] = ()) -> Bundle:
    """Verify every file of a bundle, then read it.

    Checksums do not authenticate the author. Classes are imported only from twotower and `trusted_packages`
    (packages, modules or classes), sizes are compared with file sizes, and a user and an item are embedded.

    Raises:
        InputError: a file is damaged, missing, not listed, or does not match the others.
    """
    folder = Path(folder)
    manifest = verify(folder)
    bundle = _read(folder, manifest, trusted_packages)
    _check_agreement(bundle)
    with refusing(folder / layout.FEATURES, manifest):
        _check_use(bundle)
    return bundle


def _read(folder: Path, manifest: Manifest, trusted_packages: Collection[str]) -> Bundle:
    settings = read_yaml(folder / layout.CONFIG, REMEDY)
    if not isinstance(settings, dict):
        raise InputError(f"{folder / layout.CONFIG}: expected a mapping of settings; {REMEDY}")
    # Arrays first: other sizes are checked against theirs.
    path = folder / layout.ITEM_EMBEDDINGS
    item_embeddings = read_array(path)
    _check_array(path, item_embeddings, "float32", (manifest.num_items, manifest.embedding_dim))
    if not np.isfinite(item_embeddings).all():
        _refuse(path, "contains values that are not finite")
    history = _read_history(folder, manifest)
    _check_history(folder, manifest, history)
    tables, ids = {}, {}
    sizes = ((layout.USERS, "user_id", manifest.num_users), (layout.ITEMS, "item_id", manifest.num_items))
    for name, key, num_rows in sizes:
        with refusing(folder / name, manifest):
            tables[name] = read_table(folder / name, num_rows)
            ids[name] = make_vocabulary(folder / name, tables[name], key)
    return Bundle(
        folder=folder,
        manifest=manifest,
        settings=settings,
        model=read_towers(folder, manifest, settings, trusted_packages),
        index=_read_index(folder, manifest, trusted_packages),
        item_embeddings=item_embeddings,
        users=ids[layout.USERS],
        items=ids[layout.ITEMS],
        user_table=tables[layout.USERS],
        item_table=tables[layout.ITEMS],
        item_label=manifest.item_label,
        history=history,
        request_time=manifest.request_time,
    )


def _read_history(folder: Path, manifest: Manifest) -> Interactions:
    def array(name: str) -> np.ndarray | None:
        return read_array(folder / name, mapped=True) if name in manifest.files else None

    return Interactions(
        read_array(folder / layout.HISTORY_OFFSETS),
        read_array(folder / layout.HISTORY_ITEMS, mapped=True),
        read_array(folder / layout.HISTORY_TIMES, mapped=True),
        events=array(layout.HISTORY_EVENTS),
        roles=array(layout.HISTORY_ROLES),
    )


def _read_index(folder: Path, manifest: Manifest, trusted_packages: Collection[str]) -> Index:
    entry = manifest.index
    with refusing(folder / layout.MANIFEST, manifest):
        check_targets(entry.spec, folder / layout.MANIFEST, trusted_packages)
        config = Index.Config.from_spec(entry.spec, "index.spec")
        if found := list(config.problems(manifest.embedding_dim, manifest.num_items)):
            raise InputError(f"index.spec.{found[0][0]}: {found[0][1]}")
        index = config.build()
    with refusing(folder / layout.INDEX, manifest):
        index.load(folder / layout.INDEX)
    with refusing(folder / layout.MANIFEST, manifest):
        index.set_search_args(entry.search_args)
    return index


def _check_history(folder: Path, manifest: Manifest, history: Interactions) -> None:
    offsets, items, times = history.offsets, history.items, history.times
    _check_array(folder / layout.HISTORY_OFFSETS, offsets, "int64", (manifest.num_users + 2,))
    _check_array(folder / layout.HISTORY_ITEMS, items, "int32", (len(items) if items.ndim else 0,))
    _check_array(folder / layout.HISTORY_TIMES, times, "int64", items.shape)
    if int(offsets[0]) != 0 or (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) != len(items):
        _refuse(folder / layout.HISTORY_OFFSETS, f"does not partition the {len(items)} history items")
    if len(items) and (items.min() < 0 or items.max() > manifest.num_items):
        _refuse(folder / layout.HISTORY_ITEMS, f"contains rows outside 0..{manifest.num_items}")
    if history.roles is not None:
        _check_array(folder / layout.HISTORY_ROLES, history.roles, "int8", items.shape)
    if history.events is not None:
        events, most = history.events, len(manifest.event_types)
        _check_array(folder / layout.HISTORY_EVENTS, events, "int16", items.shape)
        if len(events) and (events.min() < 0 or events.max() > most):
            _refuse(folder / layout.HISTORY_EVENTS, f"contains codes outside 0..{most}")


def _check_agreement(bundle: Bundle) -> None:
    """Check that the files belong to one bundle."""
    folder, index = bundle.folder, bundle.index
    num_items, dim = bundle.manifest.num_items, bundle.manifest.embedding_dim
    for name, what, found, expected in (
        (layout.CONFIG, "embedding_dim", bundle.settings["embedding_dim"], dim),
        (layout.INDEX, "dimension", index.dim, dim),
        (layout.INDEX, "vectors", index.num_vectors, num_items),
        (layout.INDEX, "metric", index.metric, "inner_product"),
    ):
        if found != expected:
            _refuse(folder / name, f"{what}: expected {expected}, found {found!r:.80}")
    if not np.array_equal(index.rows, np.arange(1, num_items + 1)):
        _refuse(folder / layout.INDEX, f"its ids are not the rows 1..{num_items}")
    if bundle.item_label is not None and bundle.item_label not in bundle.item_table:
        _refuse(folder / layout.ITEMS, f"it has no column {bundle.item_label!r:.80}, the label of items")


def _check_use(bundle: Bundle) -> None:
    """Encode, embed and search one user and one item, so that errors appear before the first request."""
    model, dim = bundle.model, bundle.manifest.embedding_dim
    item_records: list[Any] = [{}, *bundle.item_table.head(1).to_dict("records")]
    user_records: list[Any] = [{}, *bundle.user_table.head(1).to_dict("records")]
    with torch.inference_mode():
        _check_encoded("user", model.users, model.user_encoders)
        _check_encoded("item", model.items, model.item_encoders)
        _check_encoded("context", model.contexts, model.context_encoders)
        items = model.encode_item_features(model.items.encode(item_records))
        _check_finite("items", items, (len(item_records), dim))
        features = model.users.encode(user_records)
        num = len(next(iter(features.values()))) if features else 2
        rows, times = bundle.history.last(np.zeros(num, dtype=np.int64), model.history.config.length)
        rows[:, -1:], times[:, -1:] = 1, bundle.request_time  # so that no history is empty
        now = torch.full((num,), bundle.request_time)
        batch = UserBatch.from_features(features, torch.from_numpy(rows), torch.from_numpy(times), now)
        users = model.encode_users(batch)
        _check_finite("users", users, (num, dim))
    found = bundle.index.search(users.float().numpy(), 1).rows.max()
    if found > bundle.manifest.num_items:
        raise InputError(f"the index returns row {found}, but there are {bundle.manifest.num_items} items")


def _check_encoded(side: str, table: FeatureTable, encoders: nn.ModuleDict) -> None:
    """Check that each encoder accepts the smallest and the largest encoded value."""
    for name, values in table.gather(torch.arange(table.num_rows + 1)).items():
        embedded = encoders[name](torch.stack([values.amin(0), values.amax(0)]))
        _check_finite(f"{side}.{name}", embedded, (2, table.output_dims[name]))


def _check_finite(what: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(values.shape) != shape or not bool(values.isfinite().all()):
        raise InputError(
            f"{what}: expected finite numbers {shape}, found {values.dtype} {tuple(values.shape)}"
        )


def _check_array(path: Path, array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> None:
    if (str(array.dtype), array.shape) != (dtype, shape):
        _refuse(path, f"expected {dtype} {shape}, found {array.dtype} {array.shape}")


def _refuse(path: Path, problem: str) -> None:
    raise InputError(f"{path}: does not fit the other files: {problem}; {REMEDY}")
