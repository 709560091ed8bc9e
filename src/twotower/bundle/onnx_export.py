"""From a bundle to an exported one beside it: the same files, and its towers as ONNX, and compared.

Shapes: B users or items, L history positions, W width of a feature, D embedding, H history vector.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.exported import ExportedTowers
from twotower.bundle.history_vectors import gather_history_vectors
from twotower.bundle.manifest import bundle_in, list_files, read_manifest, render
from twotower.bundle.onnx_files import OPSET, write_towers
from twotower.bundle.read import Bundle, read_bundle
from twotower.config.errors import InputError
from twotower.files.atomic import publish_folder, temporary_folder
from twotower.towers.two_tower import TwoTower
from twotower.towers.user_batch import UserBatch

DISTRIBUTIONS = ("torch", "onnx", "onnxscript", "onnxruntime")
SOURCE_SUM = "of"  # key of an export: the manifest's own SHA-256 of the bundle it was made from
LARGEST_DIFFERENCE = 1e-5
NUM_DRAWN, BATCH, NUM_ALONE, SEED = 1000, 256, 16, 0
Integers = NDArray[np.int64]
Users = tuple[dict[str, Tensor], Integers, Integers, Integers, Integers]
"""Encoded features [B, W], history rows [B, L], their times [B, L], request times [B] and events [B, L]."""


def is_exported(folder: Path) -> bool:
    """Tell whether the export of a run or bundle is there. Raises InputError: there is no bundle."""
    return _places(folder)[1].exists()


def ensure_exported(folder: Path, trusted_packages: Collection[str] = ()) -> Path:
    """Return the exported bundle of a run or bundle, exporting it if need be; of an exported one itself.

    Raises:
        InputError: there is no bundle, it is damaged, the exported towers differ, or what lies beside the
            bundle is the export of another one.
    """
    source, target = _places(folder)
    if source == target:
        return target
    if not target.exists():
        _export(source, target, trusted_packages)
    if (read_manifest(target).export or {}).get(SOURCE_SUM) != read_manifest(source).sha256:
        raise InputError(f"{target}: not an export of {source}; move it away to export this bundle")
    return target


def _places(folder: Path) -> tuple[Path, Path]:
    folder = bundle_in(Path(folder))
    if read_manifest(folder).export is not None:
        return folder, folder
    folder = folder.absolute()
    name = layout.EXPORTED if folder.name == layout.BUNDLE else f"{folder.name}-{layout.EXPORTED}"
    return folder, folder.with_name(name)


def _export(source: Path, target: Path, trusted_packages: Collection[str]) -> None:
    absent = [name for name in DISTRIBUTIONS if importlib.util.find_spec(name) is None]
    if absent:
        raise InputError(f"an export needs {', '.join(absent)}; pip install 'twotower[export]'")
    bundle = read_bundle(source, trusted_packages)
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(temporary_folder(target))
        except OSError as error:
            raise InputError(
                f"{target}: cannot be written ({error.strerror}); copy the bundle to a folder that can"
            ) from error
        for name in bundle.manifest.files:
            _link(source / name, temporary / name)
        new = write_towers(temporary, bundle.model)
        towers = ExportedTowers(dataclasses.replace(bundle, folder=temporary))
        versions = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
        entry = {SOURCE_SUM: bundle.manifest.sha256, "opset": OPSET, "versions": versions}
        manifest = bundle.manifest.model_dump()
        manifest["export"] = entry | check_parity(bundle, towers)
        # Of the others as they were listed: what was copied wrongly is found out.
        manifest["files"] |= list_files(temporary, new)
        (temporary / layout.MANIFEST).write_text(render(manifest), encoding="utf-8")
        publish_folder(temporary, target)


def _link(source: Path, target: Path) -> None:
    """Share a file, which nobody ever changes, or copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def describe_export(folder: Path) -> str:
    """Return one line of text about an exported bundle."""
    entry = read_manifest(folder).export or {}
    return (
        f"ok  {entry['users_compared']:,} users and {entry['items_compared']:,} items compared, "
        f"largest difference {entry['largest_difference']:.1e}  {folder}"
    )


def check_parity(bundle: Bundle, exported: ExportedTowers) -> dict[str, Any]:
    """Compare embeddings of users and items, known and new; returns how many, and the largest difference.

    That is in units of the largest number of the embeddings where that is above 1. An InputError if it is
    above 1e-5, or not finite.
    """
    rng = np.random.default_rng(SEED)
    users, items = list(_users(bundle, rng)), list(_items(bundle.model, rng))
    with torch.inference_mode():
        differences = [_of_users(bundle, exported, case) for case in users]
        differences += [
            _difference(bundle.model.encode_item_features(case), exported.embed_items(case)) for case in items
        ]
    largest = float(np.max(differences))
    if not largest <= LARGEST_DIFFERENCE:  # NaN too
        raise InputError(
            f"{bundle.folder}: its exported towers differ from the trained ones by {largest:.1e}, and "
            f"{LARGEST_DIFFERENCE:.0e} is allowed; nothing was written. The export is at fault: report it "
            "with the bundle's config.yaml"
        )
    return {
        "users_compared": sum(len(rows) for _, rows, *_ in users),
        "items_compared": sum(len(next(iter(case.values()))) for case in items),
        "largest_difference": largest,
        "allowed_difference": LARGEST_DIFFERENCE,
    }


def _users(bundle: Bundle, rng: np.random.Generator) -> Iterator[Users]:
    """Yield known users and the unknown one in batches, some alone, these without one feature; new users."""
    model, num_users = bundle.model, len(bundle.users)
    length = model.history.config.length
    drawn = rng.choice(num_users, min(NUM_DRAWN, num_users), replace=False) + 1
    rows = np.append(0, np.sort(drawn)).astype(np.int64)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    for batch in batches + [row[None] for row in rows[:NUM_ALONE]]:
        times = np.resize([bundle.request_time, 0, bundle.request_time + 100 * 86_400], len(batch))
        contexts = torch.from_numpy(rng.integers(0, model.contexts.num_rows + 1, len(batch)))
        features = model.users.gather(torch.from_numpy(batch)) | model.contexts.gather(contexts)
        history = bundle.history.last(batch, length)
        rest = *history, times.astype(np.int64), _events(bundle, history[0], rng)
        yield features, *rest
        unknown = model.users.encode([{}]) | model.contexts.encode([{}])
        for name, missing in unknown.items() if len(batch) == 1 else ():
            yield features | {name: missing}, *rest
    yield from _new_users(bundle, rng)


def _new_users(bundle: Bundle, rng: np.random.Generator) -> Iterator[Users]:
    """Yield users without any feature, with histories of no item, one and as many as fit, at any width."""
    length, num_items, now = bundle.model.history.config.length, len(bundle.items), bundle.request_time
    lengths = sorted({0, min(1, length), min(2, length), length // 2, length})
    rows = rng.integers(1, num_items + 1, (len(lengths), length))
    rows[-1:, -1:] = num_items
    rows[np.arange(length) < length - np.array(lengths)[:, None]] = 0
    times = np.sort(rng.integers(1, now + 1, rows.shape), axis=1) * (rows > 0)
    requests = np.resize([0, now], len(rows)).astype(np.int64)
    events = _events(bundle, rows, rng)
    yield bundle.model.users.encode([{}] * len(rows)), rows, times, requests, events
    for place, number in enumerate(lengths):
        here, width = slice(place, place + 1), slice(length - max(number, 1), None)
        alone = rows[here, width], times[here, width], requests[here], events[here, width]
        yield bundle.model.users.encode([{}]), *alone


def _events(bundle: Bundle, rows: Integers, rng: np.random.Generator) -> Integers:
    """Draw what was done with each item of histories [B, L], 0 = not known."""
    model = bundle.model
    most = model.event_table.num_embeddings if model.history.config.events else 1
    return rng.integers(0, most, rows.shape) * (rows > 0)


def _items(model: TwoTower, rng: np.random.Generator) -> Iterator[dict[str, Tensor]]:
    """Yield batches: items of the catalogue as if new, then without one feature or any."""
    num_items = model.items.num_rows
    rows = torch.from_numpy(rng.choice(num_items, min(NUM_DRAWN, num_items), replace=False) + 1)
    unknown = model.items.encode([{}])
    for batch in rows.split(BATCH):
        yield model.items.gather(batch)
    one = model.items.gather(rows[:1])
    yield one
    yield unknown
    for name, missing in unknown.items():
        yield one | {name: missing}


def _of_users(bundle: Bundle, exported: ExportedTowers, case: Users) -> float:
    features, rows, *others = case
    times, requests, events = map(torch.from_numpy, others)
    batch = UserBatch.from_features(features, torch.from_numpy(rows), times, requests, events)
    history = gather_history_vectors(bundle.model, rows, lambda some: bundle.item_embeddings[some - 1])
    return _difference(bundle.model.encode_users(batch), exported.embed_users(features, *history, *others))


def _difference(expected: Tensor, found: NDArray[np.float32]) -> float:
    """Return the largest difference, in units of the largest number where that is above 1.

    Of numbers about 100 two orders of addition differ by 1e-5 already: float32 tells no more.
    """
    assert expected.shape == found.shape
    right = expected.float().numpy()
    return float(np.abs(right - found).max() / max(1.0, float(np.abs(right).max())))
