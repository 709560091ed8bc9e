"""Damaged files are refused before anything reads them, and invalid ones with a matching checksum by name."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import tiny_bundle
import torch
import yaml
from damages import tried
from safetensors.torch import load, save

from twotower.bundle import layout
from twotower.bundle.layout import FILES, MANIFEST
from twotower.bundle.manifest import list_files, render
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.serving.retriever import Retriever

HUGE = 10**9
Change = Callable[[Any], Any]


def seal(folder: Path, **values: Any) -> None:
    """Make the manifest agree with the files, as whoever changes a bundle on purpose does."""
    manifest = json.loads((folder / MANIFEST).read_text()) | values
    manifest["files"] = list_files(folder, manifest["files"])
    (folder / MANIFEST).write_text(render(manifest))


def rewrite(folder: Path, **values: Any) -> None:
    """Change a manifest and its own checksum."""
    manifest = json.loads((folder / MANIFEST).read_text()) | values
    (folder / MANIFEST).write_text(render(manifest))


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        read_bundle(folder)
    assert all(part in str(caught.value) for part in parts)


def refusal(folder: Path, name: str) -> str:
    seal(folder)
    with pytest.raises(InputError) as refused:
        read_bundle(folder)
    assert f"{folder}/{name}: " in str(refused.value)
    return str(refused.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    tiny_bundle.write(folder, kind="ivf_pq")
    return folder


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "bundle")


def change(path: Path, at: str, value: Any) -> None:
    """Set a value of a JSON or YAML file, by the keys on the way to it."""
    values = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    *way, key = at.split(".")
    place = values
    for part in way:
        place = place[part]
    place[key] = value
    path.write_text(json.dumps(values))  # which is YAML too


SETTINGS: dict[str, tuple[str, str, Any, str]] = {
    "layers of another size": (layout.CONFIG, "user_tower.widths", [17], "size mismatch"),
    "an embedding of gigabytes": (layout.CONFIG, "embedding_dim", HUGE, "less than or equal to"),
    "a history of gigabytes": (layout.CONFIG, "history.length", HUGE, "less than or equal to"),
    "a width that is a text": (layout.CONFIG, "item_tower.widths", ["16"], r"item_tower.widths.0: .*integer"),
    "a width below one": (layout.CONFIG, "item_tower.widths", [-1], "greater than 0"),
    "no tower": (layout.CONFIG, "item_tower", None, "item_tower: Input should be a valid dict"),
    "a tower of another package": (
        *(layout.CONFIG, "item_tower._target_", "twotower.model.losses.bce.Bce", "is not a Tower"),
    ),
    "an argument that there is not": (layout.CONFIG, "item_bias.x", 1, "item_bias.x: Extra inputs"),
    "code": (layout.CONFIG, "history._target_", "unittest.__main__.X", r"trusted_packages=\[unittest\]"),
    "code of a feature": (layout.FEATURES, "item.price._target_", "os.X", r"trusted_packages=\[os\]"),
    "an encoding of gigabytes": (layout.FEATURES, "item.title.max_tokens", HUGE, "less than or equal to"),
    "a table of gigabytes": (layout.FEATURES, "item.own.dim", HUGE, "less than or equal to"),
    "a state of another kind": (layout.FEATURES, "item.price.state.mean", "3", "cannot read it"),
    "a division by zero": (layout.FEATURES, "item.price.state.std", 0, ""),
    "values that cannot be": (layout.FEATURES, "user.country.state.values", [[1]], "cannot read it"),
    "a feature of nothing": (layout.FEATURES, "user", None, ""),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("case", SETTINGS.values(), ids=SETTINGS)
def test_settings_that_are_refused(bundle: Path, case: tuple[str, str, Any, str]) -> None:
    name, at, value, why = case
    change(bundle / name, at, value)
    named = layout.TOWERS if "size mismatch" in why else name
    assert re.search(why, refusal(bundle, named))


def header_of(text: str, number: int | None = None) -> bytes:
    size = len(text) + 1 if number is None else number
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", size) + text.encode() + b"\n"


VECTORS = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"
ARRAYS: dict[str, tuple[bytes, str]] = {
    "values of gigabytes": (header_of(VECTORS % "(1073741824, 8)") + bytes(99), ""),
    "more values than there are numbers": (header_of(VECTORS % "(4611686018427387904, 8)"), ""),
    "fewer than none": (header_of(VECTORS % "(-1, 8)"), ""),
    "a header of gigabytes": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 4_100_000_000) + bytes(99), ""),
    "a header that goes on": (header_of(VECTORS % "(60, 8)", 60_000), "not a plain numpy array"),
    "a shape that is none": (header_of(VECTORS % "'x'"), "not a plain numpy array"),
    "a header that breaks off": (header_of("{'descr': (" + " " * 50), "not a plain numpy array"),
    "an archive": (b"PK\x03\x04" + bytes(99), "not a plain numpy array"),
}


@pytest.mark.parametrize("case", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_refused(bundle: Path, case: tuple[bytes, str]) -> None:
    content, why = case
    (bundle / layout.HISTORY_TIMES).write_bytes(content)
    assert why in refusal(bundle, layout.HISTORY_TIMES)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((59, 8), np.float32), "(60, 8), found float32 (59, 8)"),
        (np.array([{}]), "not a plain numpy array"),
    ],
)
def test_embeddings_that_are_refused(bundle: Path, array: np.ndarray, why: str) -> None:
    np.save(bundle / layout.ITEM_EMBEDDINGS, array, allow_pickle=True)
    assert why in refusal(bundle, layout.ITEM_EMBEDDINGS)


TENSORS: dict[str, Change] = {
    "not finite": lambda state: state | {"user_tower.layers.0.bias": torch.full((16,), torch.nan)},
    "one too few": lambda state: {name: state[name] for name in state if "item_tower" not in name},
    "other items": lambda state: state | {"trained_items": torch.ones(60, dtype=torch.bool)},
    "no items": lambda state: {name: state[name] for name in state if name != "trained_items"},
}


@pytest.mark.parametrize("changed", TENSORS.values(), ids=TENSORS)
def test_towers_that_are_refused(bundle: Path, changed: Change) -> None:
    path = bundle / layout.TOWERS
    path.write_bytes(save(changed(load(path.read_bytes()))))
    refusal(bundle, layout.TOWERS)


ENCODED: dict[str, tuple[str, Change, str]] = {
    "beyond the table": ("item.title", lambda values: values + 10**6, layout.FEATURES),
    "before the table": ("user.country", lambda values: values - 10, layout.FEATURES),
    "not finite": ("item.price", lambda values: values * torch.nan, layout.FEATURES),
    "of another type": ("item.tags", lambda values: values.float(), layout.ENCODED),
    "of fewer items": ("item.tags", lambda values: values[1:], layout.ENCODED),
    "wider": ("item.price", lambda values: torch.cat([values, values], 1), layout.ENCODED),
}


@pytest.mark.parametrize("case", ENCODED.values(), ids=ENCODED)
def test_encoded_features_that_are_refused(bundle: Path, case: tuple[str, Change, str]) -> None:
    key, changed, named = case
    path = bundle / layout.ENCODED
    state = load(path.read_bytes())
    path.write_bytes(save(state | {key: changed(state[key]).contiguous()}))
    assert key in refusal(bundle, named) or named == layout.FEATURES


TABLES: dict[str, tuple[Change, str]] = {
    "fewer items": (lambda table: table[1:], "expected 60 rows"),
    "no ids": (lambda table: table.drop(columns="item_id"), "a column 'item_id'"),
    "ids of another kind": (lambda table: table.assign(item_id=table["price"]), "whole numbers or text"),
    "ids in another order": (lambda table: table[::-1], "ascending"),
    "no name": (lambda table: table.drop(columns="title"), "it has no column 'title'"),
}


@pytest.mark.parametrize("case", TABLES.values(), ids=TABLES)
def test_tables_that_are_refused(bundle: Path, case: tuple[Change, str]) -> None:
    changed, why = case
    path = bundle / layout.ITEMS
    changed(pd.read_parquet(path)).to_parquet(path, index=False)
    assert why in refusal(bundle, layout.ITEMS)


MANIFESTS: dict[str, dict[str, Any]] = {
    "no items": {"num_items": 0},
    "fewer than no users": {"num_users": -1},
    "more than rows can count": {"num_items": 2**31},
    "a time that no clock shows": {"request_time": 2**63},
    "no class": {"index": {"spec": {}, "search_args": {}}},
    "a class of others": {"index": {"spec": {"_target_": "os.X"}, "search_args": {}}},
    "more lists than items": {
        "index": {
            "spec": {"_target_": "twotower.index.kinds.ivf_flat.IVFFlat", "nlist": HUGE},
            "search_args": {},
        }
    },
}


@pytest.mark.parametrize("values", MANIFESTS.values(), ids=MANIFESTS)
def test_manifests_that_are_refused(bundle: Path, values: dict[str, Any]) -> None:
    seal(bundle, **values)
    refusal(bundle, MANIFEST)


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"\\ud800"'])
def test_a_manifest_that_we_would_not_write_is_refused(bundle: Path, number: str) -> None:
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text.replace('"similarity": "dot"', f'"similarity": {number}'))
    with pytest.raises(InputError, match=MANIFEST):
        read_bundle(bundle)


def test_whatever_cannot_be_served_is_told_of_the_folder(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twotower.serving.retriever.LiveCatalogue", lambda *given: 1 / 0)
    with pytest.raises(InputError, match=r"bundle: cannot be served \(ZeroDivisionError"):
        Retriever.open(bundle)


def test_forty_damages_do_no_harm(bundle: Path) -> None:
    counts, violations = tried(bundle, range(40))
    assert violations == []
    assert counts["refused"] > 20
    assert sum(counts.values()) == 40


@pytest.fixture
def unread(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of which no library may read anything."""

    def forbidden(*given: Any, **named: Any) -> NoReturn:
        raise AssertionError("read before it was verified")

    load = "twotower.bundle.read.load_file"
    for reader in ("faiss.read_index", "numpy.load", load, "pandas.read_parquet", "yaml.load"):
        monkeypatch.setattr(reader, forbidden)
    return bundle


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_damaged_or_missing_file_is_refused(unread: Path, name: str) -> None:
    rng = np.random.default_rng(len(name))
    content = (unread / name).read_bytes()
    for position in [0, len(content) - 1, *rng.integers(0, len(content), 8)]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(0, 8))
        (unread / name).write_bytes(flipped)
        refused(unread, name)
    for size in (0, len(content) // 2, len(content) - 1):
        (unread / name).write_bytes(content[:size])
        refused(unread, name)
    (unread / name).unlink()
    refused(unread, name)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_what_is_not_listed_is_refused(unread: Path, make: Callable[[Path], None]) -> None:
    make(unread / "model.pkl")
    refused(unread, "model.pkl", "does not list")


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(unread: Path, text: str) -> None:
    (unread / MANIFEST).write_text(text)
    refused(unread, MANIFEST)


@pytest.mark.parametrize("version", [3, "4", True])
def test_another_format_version_is_refused(unread: Path, version: Any) -> None:
    rewrite(unread, format_version=version)
    refused(unread, MANIFEST, "format_version", "reads 4 only", "twotower train")


@pytest.mark.parametrize("key", ["files", "index", "sha256"])
def test_a_missing_key_is_refused(unread: Path, key: str) -> None:
    manifest = json.loads((unread / MANIFEST).read_text())
    del manifest[key]
    (unread / MANIFEST).write_text(json.dumps(manifest))
    refused(unread, MANIFEST, repr(key))


@pytest.mark.parametrize(
    ("name", "entry", "part"),
    [
        *((name, "0" * 64, "lists") for name in ("../towers.safetensors", "/etc/passwd", MANIFEST)),
        *((layout.INDEX, entry, layout.INDEX) for entry in (None, 3, {})),
    ],
)
def test_an_entry_of_no_file_of_a_bundle_is_refused(unread: Path, name: str, entry: Any, part: str) -> None:
    files = json.loads((unread / MANIFEST).read_text())["files"]
    rewrite(unread, files=files | {name: entry})
    refused(unread, MANIFEST, part)


def test_a_changed_number_in_the_manifest_is_refused(unread: Path) -> None:
    text = (unread / MANIFEST).read_text()
    (unread / MANIFEST).write_text(text.replace('"num_items": 60', '"num_items": 61'))
    refused(unread, MANIFEST, "SHA-256")
