"""ONNX files of a bundle: what is written, and what is refused."""

import re
import shutil

import numpy as np
import onnxruntime
import pytest
import tiny_bundle
from in_process import run_command

from twotower.bundle import onnx_export
from twotower.bundle.layout import ITEM_TOWER, USER_TOWER
from twotower.bundle.onnx_export import EMBEDDING, compare_towers, export_towers
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError

KINDS = ["tower", "table"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Exports by the command: histories of item tower outputs, or of a table, with weights in files."""
    folders = {}
    for items in KINDS:
        folder = folders[items] = tmp_path_factory.mktemp(items)
        tiny_bundle.write(folder / "bundle", history_items=items)
        with pytest.MonkeyPatch.context() as patch:
            if items == "table":
                patch.setattr(onnx_export, "MAX_EMBEDDED_BYTES", 0)
            done = run_command("export", f"run={folder}")
        # 12 users and the unknown one, one alone, and new ones
        assert done.stdout.startswith("ok  23 users and 62 items compared, largest difference ")
        assert done.stdout.endswith(f"{folder / 'exported'}\n")
    return folders


@pytest.fixture
def run(runs, tmp_path, monkeypatch):
    """A copy, of which another export takes no time."""

    def write_towers(folder, model):
        for name in (USER_TOWER, ITEM_TOWER):
            shutil.copy(runs["tower"] / "exported" / name, folder)

    monkeypatch.setattr(onnx_export, "write_towers", write_towers)
    return shutil.copytree(runs["tower"], tmp_path / "run")


def refused(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("items", KINDS)
def test_files_and_inputs_have_stable_names(runs, items):
    names = {USER_TOWER, ITEM_TOWER}
    names |= {f"{name}.data" for name in names} if items == "table" else set()
    assert {path.name for path in (runs[items] / "exported").iterdir()} == names
    for name in (USER_TOWER, ITEM_TOWER):
        assert not re.search(rb"\.py|stack_trace", (runs[items] / "exported" / name).read_bytes())
    session = onnxruntime.InferenceSession(runs[items] / "exported" / USER_TOWER)
    assert {each.name for each in session.get_inputs()} >= {"in.history", "in.mask", "in.times"}
    assert [each.name for each in session.get_outputs()] == [EMBEDDING]
    item_tower = onnxruntime.InferenceSession(runs[items] / "exported" / ITEM_TOWER)
    assert {each.name for each in item_tower.get_inputs()} >= {"in.feature.title", "in.feature.price"}


@pytest.mark.parametrize("change", [1e-2, np.nan])
def test_towers_that_differ_are_not_written(run, monkeypatch, change):
    shutil.rmtree(run / "exported")
    bundle = read_bundle(run / "bundle")
    next(bundle.model.user_tower.parameters()).add_(change)
    monkeypatch.setattr(onnx_export, "read_bundle", lambda *_: bundle)
    refused(
        lambda: export_towers(run), "differ from the trained ones", "1e-05 is allowed", "nothing was written"
    )
    assert [path.name for path in run.iterdir()] == ["bundle"]


def test_an_existing_export_is_replaced(run):
    (run / "exported" / USER_TOWER).write_bytes(b"damaged")
    export_towers(run / "bundle")
    assert compare_towers(run / "exported", read_bundle(run / "bundle"))[2] <= 1e-5
    assert sorted(path.name for path in run.iterdir()) == ["bundle", "exported"]
    (run / "bundle").rename(run / "spring")  # a bundle outside of a run
    assert export_towers(run / "spring").endswith("spring-exported")
    assert (run / "spring-exported" / USER_TOWER).is_file()
