"""An exported bundle: its files, the towers in it, and what is refused."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import tiny_bundle
import torch

from twotower.bundle import layout, onnx_files
from twotower.bundle.exported import ExportedTowers
from twotower.bundle.history_vectors import gather_history_vectors
from twotower.bundle.layout import EXPORT_FILES, FILES, MANIFEST, WEIGHTS
from twotower.bundle.manifest import render
from twotower.bundle.onnx_export import _difference, check_parity, ensure_exported, is_exported
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.towers.user_batch import UserBatch

N, LENGTH, D = tiny_bundle.NUM_ITEMS, tiny_bundle.LENGTH, tiny_bundle.DIM
NOW = tiny_bundle.NOW
KINDS = ["tower", "table"]


def embed(towers, bundle, features, rows, *others):
    history = gather_history_vectors(bundle.model, rows, lambda some: bundle.item_embeddings[some - 1])
    return towers.embed_users(features, *history, *others)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Exported bundles whose histories read the item tower, or a table; the latter's weights stand beside."""
    folders = {}
    for items in KINDS:
        folders[items] = tmp_path_factory.mktemp(items)
        tiny_bundle.write(folders[items] / "bundle", history_items=items)
        with pytest.MonkeyPatch.context() as patch:
            if items == "table":
                patch.setattr(onnx_files, "LARGEST_FILE", 0)
            assert ensure_exported(folders[items]) == folders[items] / "exported"
    return folders


@pytest.fixture
def run(runs, tmp_path):
    """A copy to damage."""
    return shutil.copytree(runs["tower"], tmp_path / "run")


@pytest.fixture
def no_second_export(monkeypatch):
    """Exports that come after are quick: the files are those of the first."""

    def given(written):
        def write_towers(folder, model):
            for name in (layout.USER_TOWER, layout.ITEM_TOWER):
                shutil.copy(written / "exported" / name, folder / name)
            return [layout.USER_TOWER, layout.ITEM_TOWER]

        monkeypatch.setattr("twotower.bundle.onnx_export.write_towers", write_towers)

    return given


def asked(bundle, rows, *, length=LENGTH, times=NOW):
    """What the towers are asked of users of the bundle."""
    rows = np.array(rows, dtype=np.int64)
    features = bundle.model.users.gather(torch.from_numpy(rows))
    requests = np.full(len(rows), times, dtype=np.int64)
    return features, *bundle.history.last(rows, length), requests


def by_torch(model, features, *arrays):
    with torch.inference_mode():
        return model.encode_users(UserBatch.from_features(features, *map(torch.from_numpy, arrays))).numpy()


def refused(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("items", KINDS)
def test_it_is_the_bundle_with_two_towers_more(runs, items):
    before, bundle = (read_bundle(runs[items] / name) for name in ("bundle", "exported"))
    beside = WEIGHTS if items == "table" else ()
    assert set(bundle.manifest.files) == {*FILES, *EXPORT_FILES, *beside}
    for name in FILES:
        assert (bundle.folder / name).samefile(before.folder / name)
    assert before.manifest.export is None
    assert bundle.manifest.export["of"] == before.manifest.sha256
    assert bundle.manifest.export["opset"] == 20
    assert set(bundle.manifest.export["versions"]) == {"torch", "onnx", "onnxscript", "onnxruntime"}
    # 12 users and the unknown one, those alone, and so without their one feature
    # 4 new ones (0, 1, 2 and 5 items) together, and alone
    assert bundle.manifest.export["users_compared"] == 13 + 13 + 13 + 4 + 4
    # 60 items; one alone, one without features, one without each of 4
    assert bundle.manifest.export["items_compared"] == 60 + 1 + 1 + 4
    told = bundle.manifest.export
    assert 0 <= told["largest_difference"] <= told["allowed_difference"] == 1e-5
    assert sorted(path.name for path in runs[items].iterdir()) == ["bundle", "exported"]


def test_an_onnx_file_names_no_place_of_the_machine(runs):
    for name in (layout.USER_TOWER, layout.ITEM_TOWER):
        assert not re.search(rb"\.py|stack_trace", (runs["tower"] / "exported" / name).read_bytes())


@pytest.mark.parametrize("items", KINDS)
def test_users_are_embedded_as_by_torch_whatever_the_batch_and_the_history(runs, items):
    bundle = read_bundle(runs[items] / "exported")
    towers = ExportedTowers(bundle)
    for rows in ([1], [12], [0], list(range(13)) * 3):
        for length in range(1, LENGTH + 1):
            for times in (NOW, 0, 1_500_000_123):
                case = asked(bundle, rows, length=length, times=times)
                found = embed(towers, bundle, *case)
                assert found.dtype == np.float32
                assert found.shape == (len(rows), D)
                assert np.abs(found - by_torch(bundle.model, *case)).max() <= 1e-5
                assert (found[:, -1] == 1).all()
    empty = embed(towers, bundle, *asked(bundle, []))
    assert (empty.shape, empty.dtype) == ((0, D), np.float32)


def test_the_untrained_item_is_nothing_to_a_table_and_something_to_the_tower(runs):
    for items, same in (("table", True), ("tower", False)):
        bundle = read_bundle(runs[items] / "exported")
        features, rows, times, now = asked(bundle, [0])
        towers = ExportedTowers(bundle)
        with_it = embed(towers, bundle, features, np.full_like(rows, 7), times + NOW, now)
        without = embed(towers, bundle, features, rows, times, now)
        assert np.array_equal(with_it, without) == same


@pytest.mark.parametrize("items", KINDS)
def test_new_items_are_embedded(runs, items):
    bundle = read_bundle(runs[items] / "exported")
    records = [{"title": "RED CUP", "price": 3.5, "tags": ["gift"]}, {}, {"price": float("nan")}]
    encoded = bundle.model.items.encode(records)
    expected = bundle.model.encode_item_features(encoded).numpy()
    assert np.abs(ExportedTowers(bundle).embed_items(encoded) - expected).max() <= 1e-5


def test_towers_take_as_many_threads_as_torch_unless_told(runs, monkeypatch):
    bundle = read_bundle(runs["tower"] / "exported")
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    for towers, expected in ((ExportedTowers(bundle), 2), (ExportedTowers(bundle, 3), 3)):
        for session in (towers._user_tower, towers._item_tower):
            assert session.get_session_options().intra_op_num_threads == expected


class Off(ExportedTowers):
    """Towers that say a little more than they should of one user."""

    by = 0.0

    def embed_users(self, *case):
        found = super().embed_users(*case)
        found[-1, 0] += self.by
        return found


@pytest.mark.parametrize("by", [3e-5, -3e-5, np.nan, np.inf])
def test_towers_that_differ_are_not_written(run, monkeypatch, no_second_export, by):
    no_second_export(shutil.copytree(run, run.with_name("first")))
    shutil.rmtree(run / "exported")
    monkeypatch.setattr("twotower.bundle.onnx_export.ExportedTowers", type("Wrong", (Off,), {"by": by}))
    refused(
        lambda: ensure_exported(run),
        "differ from the trained ones",
        "1e-05 is allowed",
        "nothing was written",
    )
    assert [path.name for path in run.iterdir()] == ["bundle"]


def test_the_difference_is_told(runs):
    bundle = read_bundle(runs["tower"] / "exported")
    off = type("Nearly", (Off,), {"by": 5e-6})(bundle)
    assert 4e-6 < check_parity(bundle, off)["largest_difference"] < 7e-6


@pytest.mark.parametrize(
    ("expected", "found", "difference"),
    [
        ([0.5, -0.25], [0.5, -0.5], 0.25),
        ([-100.0, 3.0], [-100.0, 3.5], 0.005),
        ([1.0, 0.0], [np.nan, 0.0], None),
    ],
)
def test_differences_of_large_numbers_are_told_in_their_units(expected, found, difference):
    told = _difference(torch.tensor([expected]), np.array([found], dtype=np.float32))
    assert told == pytest.approx(difference) if difference is not None else np.isnan(told)


def test_a_run_a_bundle_and_an_export_lead_to_one_export_made_once(run, monkeypatch):
    monkeypatch.setattr("twotower.bundle.onnx_export._export", lambda *_: pytest.fail("exported again"))
    for folder in (run, run / "bundle", run / "exported"):
        assert ensure_exported(folder) == run / "exported"
    assert is_exported(run)
    refused(lambda: ensure_exported(run / "none"), "no such folder")


def test_a_bundle_anywhere_is_exported_under_its_name(run, no_second_export):
    no_second_export(run)
    (run / "bundle").rename(run / "spring")
    assert ensure_exported(run / "spring") == run / "spring-exported"
    assert read_bundle(run / "spring-exported").manifest.export["largest_difference"] <= 1e-5


def test_an_export_of_another_bundle_is_not_taken(run):
    manifest = json.loads((run / "bundle" / MANIFEST).read_text())
    (run / "bundle" / MANIFEST).write_text(render(manifest | {"request_time": NOW + 1}))
    refused(lambda: ensure_exported(run), "not an export of", "move it away")


def test_who_is_second_finds_the_export_of_the_first(run, monkeypatch, no_second_export):
    first = shutil.copytree(run, run.with_name("first"))
    no_second_export(first)
    shutil.rmtree(run / "exported")

    def meanwhile(bundle, towers):
        shutil.copytree(first / "exported", run / "exported")
        return {}

    monkeypatch.setattr("twotower.bundle.onnx_export.check_parity", meanwhile)
    assert ensure_exported(run) == run / "exported"
    assert "largest_difference" in read_bundle(run / "exported").manifest.export
    assert sorted(path.name for path in run.iterdir()) == ["bundle", "exported"]


def test_a_damaged_bundle_is_not_exported(run):
    shutil.rmtree(run / "exported")
    flip(run / "bundle" / layout.ITEM_EMBEDDINGS, 900)
    refused(lambda: ensure_exported(run), layout.ITEM_EMBEDDINGS, "damaged")
    assert [path.name for path in run.iterdir()] == ["bundle"]


def test_absent_libraries_are_named(run, monkeypatch):
    shutil.rmtree(run / "exported")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    refused(lambda: ensure_exported(run), "needs onnxscript;", "pip install 'twotower[export]'")


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.unlink()  # the bundle has the same file
    path.write_bytes(content)


@pytest.mark.parametrize("name", [*EXPORT_FILES, *WEIGHTS])
def test_a_flipped_bit_is_refused(runs, tmp_path, name):
    folder = shutil.copytree(runs["table"] / "exported", tmp_path / "exported")
    size = (folder / name).stat().st_size
    for position in (0, size // 2, size - 1):
        flip(folder / name, position)
        refused(lambda: read_bundle(folder), name, "damaged or changed")
        flip(folder / name, position)
    assert read_bundle(folder).manifest.export


def change(folder, **values):
    manifest = json.loads((folder / MANIFEST).read_text())
    files = manifest["files"] | values.pop("files", {})
    kept = {key: value for key, value in (manifest | values | {"files": files}).items() if value is not None}
    kept["files"] = {name: entry for name, entry in files.items() if entry is not None}
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_text(render(kept))


@pytest.mark.parametrize("name", EXPORT_FILES)
def test_an_export_lists_all_its_files(run, name):
    change(run / "exported", files={name: None})
    refused(lambda: read_bundle(run / "exported"), "does not list", name)


def test_only_an_export_has_towers_of_its_own(run):
    change(run / "exported", export=None)
    refused(lambda: read_bundle(run / "exported"), "no file of this format")
    change(run / "exported", export=["x"])
    refused(lambda: read_bundle(run / "exported"), "'export'", "a valid dictionary")


def reseal(folder, name, content):
    (folder / name).write_bytes(content)
    change(folder, files={name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}})


def test_towers_that_are_no_such_towers_are_refused(run):
    folder = run / "exported"
    content = (folder / layout.ITEM_TOWER).read_bytes()
    reseal(folder, layout.USER_TOWER, content)
    refused(lambda: ExportedTowers(read_bundle(folder)), layout.USER_TOWER, "expected inputs", "in.history")
    reseal(folder, layout.USER_TOWER, content[: len(content) // 2])
    refused(lambda: ExportedTowers(read_bundle(folder)), layout.USER_TOWER, "not readable")
