import json

import numpy as np
import pandas as pd
import pytest
import tiny_bundle
import torch

from twotower.bundle.layout import FILES, ITEMS, MANIFEST
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.model.towers.user_batch import UserBatch


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("history_items", ["table", "tower"])
def test_embeddings_are_identical_after_a_round_trip(tmp_path, text, history_items):
    model, vectors = tiny_bundle.write(tmp_path / "bundle", text=text, history_items=history_items)
    bundle = read_bundle(tmp_path / "bundle")
    users = torch.arange(0, tiny_bundle.NUM_USERS + 1)
    rows, times = tiny_bundle.history().last(users.numpy(), tiny_bundle.LENGTH)
    asked = UserBatch(
        users, torch.from_numpy(rows), torch.from_numpy(times), torch.full_like(users, tiny_bundle.NOW)
    )
    with torch.inference_mode():
        assert torch.equal(bundle.model.encode_users(asked), model.encode_users(asked))
        items = torch.arange(0, tiny_bundle.NUM_ITEMS + 1)
        assert torch.equal(bundle.model.encode_items(items), model.encode_items(items))
    np.testing.assert_array_equal(bundle.item_embeddings, vectors)


def test_ids_tables_history_and_settings_come_back(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", text=False, kind="ivf_flat")
    bundle, data = read_bundle(tmp_path / "bundle"), tiny_bundle.dataset(text=False)
    np.testing.assert_array_equal(bundle.items.values, data.items.values)
    np.testing.assert_array_equal(bundle.users.values, data.users.values)
    assert bundle.item_table["title"].tolist() == data.item_table["title"].tolist()
    assert [list(tags) for tags in bundle.item_table["tags"]] == data.item_table["tags"].tolist()
    assert bundle.item_table["mixed"][:2].tolist() == ["no 0", "1"]
    for name in ("offsets", "items", "times"):
        np.testing.assert_array_equal(
            getattr(bundle.history, name), getattr(tiny_bundle.history(), name), err_msg=name
        )
    assert bundle.settings == tiny_bundle.settings()
    assert (bundle.manifest.item_label, bundle.manifest.request_time) == ("title", tiny_bundle.NOW)
    assert not bundle.model.training
    assert bundle.index.kind == "ivf_flat"
    assert bundle.index.search_args == {"nprobe": 4}


def test_the_manifest_says_what_made_the_bundle_and_lists_every_file(tmp_path):
    tiny_bundle.write_anew(tmp_path / "bundle")
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "bundle").iterdir()}
    assert modes == {(tmp_path / "new").stat().st_mode}
    titles = pd.read_parquet(tmp_path / "bundle" / ITEMS)["title"].tolist()
    assert titles == tiny_bundle.dataset().item_table["title"].tolist()
    with pytest.raises(InputError):  # bundles are not overwritten
        tiny_bundle.write_anew(tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text())
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {*FILES, MANIFEST}
    assert set(manifest["files"]) == set(FILES)
    assert manifest["similarity"] == "dot"
    assert manifest["index"]["report"] == {"recall_at_100": 1.0, "ok": True}
    assert {"twotower", "torch", "numpy", "faiss", "simd_level"} <= set(manifest["versions"])


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(tensors, path):
        raise OSError("disk full")

    monkeypatch.setattr("twotower.bundle.write.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny_bundle.write_anew(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_until_the_last_rename_there_is_no_bundle(tmp_path, monkeypatch):
    def die(temporary, final):
        raise KeyboardInterrupt

    monkeypatch.setattr("twotower.bundle.write.replace_folder", die)
    monkeypatch.setattr("twotower.files.atomic.shutil.rmtree", lambda *args, **named: None)  # as kill -9 does
    with pytest.raises(KeyboardInterrupt):
        tiny_bundle.write_anew(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    with pytest.raises(InputError, match="no such folder"):
        read_bundle(tmp_path / "bundle")
