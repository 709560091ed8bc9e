"""From a bundle to an exported one beside it: the same files, and its towers as ONNX."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from twotower.bundle import layout
from twotower.bundle.exported import ExportedTowers, history_vectors
from twotower.bundle.manifest import list_files, read_manifest, render
from twotower.bundle.onnx_files import OPSET, write_towers
from twotower.bundle.parity import check_parity
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.files.atomic import publish_folder, temporary_folder

BUNDLE, EXPORTED = "bundle", "exported"
DISTRIBUTIONS = ("torch", "onnx", "onnxscript", "onnxruntime")
SOURCE_SUM = "of"  # key of an export: the manifest's own SHA-256 of the bundle it was made from


def export(folder: Path, trusted_packages: Collection[str] = ()) -> Path:
    """Export the bundle of a folder (its own, or a run's), and return the new folder beside it.

    Raises:
        InputError: there is no bundle, it is damaged or exported already, or the exported towers differ.
    """
    source, target = _places(folder)
    if target.exists():
        raise InputError(
            f"{target}: already there, and an export is never overwritten; move it away to export again"
        )
    _export(source, target, trusted_packages)
    return target


def exported_beside(folder: Path, trusted_packages: Collection[str] = ()) -> Path:
    """Return the exported bundle of a run or bundle, exporting it if need be; of an exported one itself.

    Raises:
        InputError: as in `export`, or what lies beside the bundle is the export of another one.
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
    folder = Path(folder)
    if (folder / BUNDLE / layout.MANIFEST).is_file() and not (folder / layout.MANIFEST).is_file():
        folder = folder / BUNDLE
    if read_manifest(folder).export is not None:
        return folder, folder
    folder = folder.absolute()
    return folder, folder.with_name(EXPORTED if folder.name == BUNDLE else f"{folder.name}-{EXPORTED}")


def _export(source: Path, target: Path, trusted_packages: Collection[str]) -> None:
    absent = [name for name in DISTRIBUTIONS if importlib.util.find_spec(name) is None]
    if absent:
        raise InputError(f"an export needs {', '.join(absent)}; pip install -e '.[export]'")
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
        new = [*write_towers(temporary, bundle.model), layout.HISTORY_VECTORS]
        np.save(temporary / layout.HISTORY_VECTORS, history_vectors(bundle.model, bundle.item_vectors))
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


def told(folder: Path) -> str:
    """Return a line for people about an exported bundle."""
    entry = read_manifest(folder).export or {}
    return (
        f"ok  {entry['users_compared']:,} users and {entry['items_compared']:,} items compared, "
        f"largest difference {entry['largest_difference']:.1e}  {folder}"
    )
