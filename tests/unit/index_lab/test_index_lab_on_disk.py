"""An index whose lists are in a file finds what one in memory finds."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.index import faiss_index, ground_truth
from twotower.index import index as index_module
from twotower.index.auto import Auto
from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_opq import IVFOPQ
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index_lab import build_index as module
from twotower.index_lab.build_index import build_index

NUM_ITEMS, DIM = 500, 8
RANDOM = np.random.default_rng(3)
ITEMS = RANDOM.standard_normal((NUM_ITEMS, DIM)).astype(np.float32)
USERS = RANDOM.standard_normal((40, DIM)).astype(np.float32)
CODES = {"num_subquantizers": 4, "num_bits": 4}
CONFIGS = [
    IVFFlat.Config(nlist=7),
    IVFSQ.Config(nlist=7),
    IVFOPQ.Config(nlist=7, min_recall=0.1, **CODES),
]


def write(path, name, vectors, **plan):
    path.parent.mkdir(exist_ok=True)
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    table = pa.table({name: np.arange(len(vectors)), "vector": values})
    table = table.replace_schema_metadata({b"twotower": json.dumps({"bundle": "abc"} | plan)})
    pq.write_table(table, path, row_group_size=70, write_page_checksum=True)
    return path


@pytest.fixture
def items(tmp_path):
    return write(tmp_path / "items.parquet", "item_id", ITEMS, side="items")


@pytest.fixture
def users(tmp_path):
    return write(tmp_path / "users.parquet", "user_id", USERS, side="users")


def load(folder):
    spec = json.loads((folder / "report.json").read_text())["spec"]
    index = Index.Config.from_spec(spec, "index").build()
    index.load(folder / "index.faiss")
    return index


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.owner.kind)
def test_lists_on_disk_give_the_index_of_one_build(config, items, users, tmp_path, monkeypatch):
    for name, on_disk, rows_at_once in (("one", False, 130), ("disk", True, 130), ("at_once", True, 500)):
        monkeypatch.setattr(module, "BUFFER_BYTES", 4 * DIM * rows_at_once)
        assert build_index(items, users, config, tmp_path / name, on_disk) == DONE
    contents = {path: path.read_bytes() for path in tmp_path.glob("*/index.*")}
    for name in ("index.faiss", "index.ivfdata"):
        assert contents[tmp_path / "disk" / name] == contents[tmp_path / "at_once" / name]
    moved = (tmp_path / "disk").rename(tmp_path / "moved")
    whole, on_disk = load(tmp_path / "one"), load(moved)
    assert on_disk.files == (moved / "index.faiss", moved / "index.ivfdata")
    expected, found = (index.search(USERS, 20) for index in (whole, on_disk))
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert on_disk.num_vectors == NUM_ITEMS
    np.testing.assert_array_equal(on_disk.rows, whole.rows)


def test_an_index_on_disk_cannot_change_and_stays_next_to_its_lists(items, users, tmp_path):
    out = tmp_path / "disk"
    assert build_index(items, users, CONFIGS[0], out, on_disk=True) == DONE
    index = load(out)
    for change in (lambda: index.add(ITEMS[:1], np.array([9999])), lambda: index.remove(np.array([1]))):
        with pytest.raises(InputError, match=r"index\.ivfdata: an index that is searched from a file cannot"):
            change()
    with pytest.raises(InputError, match=r"other\.faiss: is not next to .*; copy the folder"):
        index.save(tmp_path / "other.faiss")
    index.set_search_args({"nprobe": 3})
    index.save(out / "index.faiss")
    assert load(out).search_args == {"nprobe": 3}
    lists = out / "index.ivfdata"
    lists.write_bytes(lists.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"index\.faiss: is not a complete .*has not the size"):
        load(out)
    lists.unlink()
    with pytest.raises(InputError, match=r"index\.faiss: is not a complete .*index\.ivfdata"):
        load(out)


def test_vectors_that_are_not_finite_and_other_kinds_are_refused(users, tmp_path):
    broken = ITEMS.copy()
    broken[300, 2] = np.nan
    path = write(tmp_path / "items.parquet", "item_id", broken, side="items")
    with pytest.raises(InputError, match="item vectors: value nan at position 300, column 2"):
        build_index(path, users, CONFIGS[0], tmp_path / "out", on_disk=True)
    with pytest.raises(InputError, match=r"on_disk: index=flat_ip does not hold .*; type index="):
        build_index(path, users, FlatIP.Config(), tmp_path / "out", on_disk=True)
    limited = Auto.Config(max_latency_ms=1.0)
    with pytest.raises(InputError, match=r"on_disk: index=auto measures whole indexes; type index=ivf_sq"):
        build_index(path, users, limited, tmp_path / "out", on_disk=True)
    assert not (tmp_path / "out").exists()


def test_a_large_number_is_trained_on_a_sample_and_added_in_blocks(items, users, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "MANY_VECTORS", 100)
    monkeypatch.setattr(index_module, "PER_CENTROID", 20)
    monkeypatch.setattr(ground_truth, "VECTORS_PER_BLOCK", 64)
    config = IVFFlat.Config(nlist=7)
    positions = config.training_positions(NUM_ITEMS)
    assert len(np.unique(positions)) == 140
    assert (np.diff(positions) > 0).all()
    assert positions[-1] < NUM_ITEMS
    np.testing.assert_array_equal(config.training_positions(NUM_ITEMS), positions)
    assert config.training_positions(140) == slice(None)
    sizes = []
    blocks = faiss_index.vector_blocks

    def recorded(*given):
        for part, block in blocks(*given):
            sizes.append(len(block))
            yield part, block

    monkeypatch.setattr(faiss_index, "vector_blocks", recorded)
    trained, train = [], IVFFlat.train
    monkeypatch.setattr(
        IVFFlat, "train", lambda self, *given: trained.append(given[1]) or train(self, *given)
    )
    mapped = np.memmap(tmp_path / "vectors", np.float16, "w+", shape=ITEMS.shape)
    mapped[:] = ITEMS
    index = config.build()
    index.build(mapped, np.arange(NUM_ITEMS))
    assert sizes == [64] * 7 + [52]
    np.testing.assert_array_equal(trained, [mapped[positions].astype(np.float32)])
    index.set_search_args({"nprobe": 7})
    expected = np.argsort(-(USERS @ mapped.astype(np.float32).T), axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(index.search(USERS, 5).rows, expected)
    assert build_index(items, users, config, tmp_path / "one") == DONE
    assert build_index(items, users, config, tmp_path / "disk", on_disk=True) == DONE
    whole, on_disk = (load(tmp_path / name).search(USERS, 20) for name in ("one", "disk"))
    np.testing.assert_array_equal(on_disk.rows, whole.rows)
    broken = ITEMS.copy()
    broken[130, 1] = np.nan
    with pytest.raises(InputError, match="item vectors: value nan at position 130, column 1"):
        index.build(broken, np.arange(NUM_ITEMS))
