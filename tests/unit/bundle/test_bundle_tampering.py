import hashlib
import json
import shutil

import numpy as np
import pytest
import tiny_bundle

from twotower.bundle import layout
from twotower.bundle.layout import FILES, MANIFEST
from twotower.bundle.manifest import render, verify
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    tiny_bundle.write(folder)
    return folder


@pytest.fixture
def bundle(whole, tmp_path, monkeypatch):
    """A copy to damage; no library may read anything of it."""

    def forbidden(*args, **named):
        raise AssertionError("read before it was verified")

    for reader in (
        "faiss.read_index",
        "numpy.load",
        "twotower.bundle.read.load_file",
        "pandas.read_parquet",
    ):
        monkeypatch.setattr(reader, forbidden)
    monkeypatch.setattr("yaml.load", forbidden)
    return shutil.copytree(whole, tmp_path / "bundle")


def refused(folder, name, *parts):
    with pytest.raises(InputError) as caught:
        read_bundle(folder)
    for part in (name, *parts):
        assert part in str(caught.value)


def flip(path, position, bit):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_damaged_or_missing_file_is_refused(bundle, name):
    rng = np.random.default_rng(len(name))
    content = (bundle / name).read_bytes()
    for position in [0, len(content) - 1, *rng.integers(0, len(content), 8)]:
        flip(bundle / name, int(position), int(rng.integers(0, 8)))
        refused(bundle, name)
        (bundle / name).write_bytes(content)
    for size in (0, len(content) // 2, len(content) - 1):
        (bundle / name).write_bytes(content[:size])
        refused(bundle, name)
    (bundle / name).unlink()
    refused(bundle, name)


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.mkdir()])
def test_what_is_not_listed_is_refused(bundle, make):
    make(bundle / "model.pkl")
    refused(bundle, "model.pkl", "does not list")


def change(folder, **values):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.update(values)
    (folder / MANIFEST).write_text(render(manifest))


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(bundle, text):
    (bundle / MANIFEST).write_text(text)
    refused(bundle, MANIFEST)


@pytest.mark.parametrize("version", [4, "3", True])
def test_another_format_version_is_refused(bundle, version):
    change(bundle, format_version=version)
    refused(bundle, MANIFEST, "format_version", "reads 3 only", "twotower train")


@pytest.mark.parametrize("key", ["files", "index", "sha256"])
def test_a_missing_key_is_refused(bundle, key):
    manifest = json.loads((bundle / MANIFEST).read_text())
    del manifest[key]
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    refused(bundle, MANIFEST, repr(key))


@pytest.mark.parametrize("name", ["../towers.safetensors", "/etc/passwd", MANIFEST])
def test_a_listed_path_outside_the_folder_is_refused(bundle, name):
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    change(bundle, files={name: "0" * 64, **files})
    refused(bundle, MANIFEST, "lists")


@pytest.mark.parametrize("entry", [None, 3, {}])
def test_an_odd_entry_is_refused(bundle, entry):
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    change(bundle, files={**files, layout.INDEX: entry})
    refused(bundle, MANIFEST, layout.INDEX)


def test_a_changed_number_in_the_manifest_is_refused(bundle):
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text.replace('"num_items": 60', '"num_items": 61'))
    refused(bundle, MANIFEST, "SHA-256")


def reseal(folder, name, content):
    """Replace a file and its checksum, as whoever mixes files of two bundles by hand might."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / MANIFEST).read_text())["files"]
    files[name] = hashlib.sha256(content).hexdigest()
    change(folder, files=files)


def test_whole_files_that_do_not_belong_together_are_refused(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "bundle")
    vectors = np.load(folder / layout.ITEM_EMBEDDINGS)
    np.save(tmp_path / "short.npy", vectors[:-1])
    reseal(folder, layout.ITEM_EMBEDDINGS, (tmp_path / "short.npy").read_bytes())
    assert verify(folder)
    refused(folder, layout.ITEM_EMBEDDINGS, "(60, 8)", "(59, 8)")


def test_pickle_in_an_array_is_refused(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "bundle")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    reseal(folder, layout.ITEM_EMBEDDINGS, (tmp_path / "objects.npy").read_bytes())
    refused(folder, layout.ITEM_EMBEDDINGS, "pickle")
