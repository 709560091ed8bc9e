"""An index that is built in shards, or whose lists are in a file, finds what one build finds."""

import json
import shlex
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twotower.commands.main import main
from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.files.shards import Shard
from twotower.index import faiss_index, ground_truth
from twotower.index import index as index_module
from twotower.index.flat_ip import FlatIP
from twotower.index.index import Index
from twotower.index.ivf_flat import IVFFlat
from twotower.index.ivf_opq import IVFOPQ
from twotower.index.ivf_sq import IVFSQ
from twotower.pipeline import index_shards as module
from twotower.pipeline.index_shards import build_shard, train_shards
from twotower.pipeline.index_vectors import build_index

NUM_ITEMS, DIM, NUM_SHARDS = 500, 8, 3
COMMAND = "twotower build_index"
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


def write_shards(items, config, folder, users=None):
    assert train_shards(items, users, config, folder) == DONE
    for number in (2, 1, 3):  # any machine may be the first
        assert build_shard(items, config, Shard(number, NUM_SHARDS), folder, COMMAND) == DONE
    return folder


def load(folder):
    spec = json.loads((folder / "report.json").read_text())["spec"]
    index = Index.Config.from_spec(spec, "index").build()
    index.load(folder / "index.faiss")
    return index


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.owner.kind)
def test_shards_and_lists_on_disk_give_the_index_of_one_build(config, items, users, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUFFER_BYTES", 4 * DIM * 130)  # four shares on one machine
    shards = write_shards(items, config, tmp_path / "shards", users)
    for name, on_disk, given in (
        ("one", False, None),
        ("merged", False, shards),
        ("disk", True, None),
        ("merged_disk", True, shards),
    ):
        assert build_index(items, users, config, tmp_path / name, on_disk, given) == DONE
    contents = {path: path.read_bytes() for path in tmp_path.glob("*/index.*")}
    one, other = (contents[tmp_path / name / "index.faiss"] for name in ("one", "merged"))
    assert one == other
    assert contents[tmp_path / "disk" / "index.ivfdata"] == contents[tmp_path / "merged_disk/index.ivfdata"]
    assert contents[tmp_path / "disk" / "index.faiss"] == contents[tmp_path / "merged_disk" / "index.faiss"]
    shutil.rmtree(shards)
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


def test_the_command_of_a_message_can_be_typed_whatever_the_folder(items, tmp_path, monkeypatch):
    folder = tmp_path / "night {2}, size=it's"
    monkeypatch.chdir(tmp_path)
    command = "twotower build_index parts=items.parquet index=ivf_sq"
    with pytest.raises(InputError) as refused:
        build_shard(items, IVFSQ.Config(nlist=7), Shard(1, NUM_SHARDS), folder, command)
    monkeypatch.setattr("sys.argv", shlex.split(str(refused.value).partition("type: ")[2]))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == DONE
    assert [path.name for path in folder.iterdir()] == ["trained"]


def test_shares_that_do_not_add_up_are_refused(items, users, tmp_path):
    config, folder = CONFIGS[1], tmp_path / "shards"

    def refused(message, given=config, parts=items):
        with pytest.raises(InputError, match=message):
            build_index(parts, users, given, tmp_path / "out", shards=folder, command=COMMAND)
        assert not (tmp_path / "out").exists()

    first = Shard(1, NUM_SHARDS)
    with pytest.raises(InputError, match=r"trained: there is no such folder; type: .* shard=train"):
        build_shard(items, config, first, folder, COMMAND)
    write_shards(items, config, folder)
    refused(
        r"trained: its cells fit other users than queries=.*/users.parquet; type the queries of shard=train, "
        r"or move it away, and type: .* shard=train queries=.*/users.parquet"
    )
    shutil.rmtree(folder)
    write_shards(items, config, folder, users)
    with pytest.raises(InputError, match=r"part-1-of-3\.index: exists, and is never overwritten"):
        build_shard(items, config, first, folder, COMMAND)
    refused(
        "trained: its index.nlist is 7, expected 5; move it away, and type: .* shard=train",
        IVFSQ.Config(nlist=5),
    )
    more = write(tmp_path / "more.parquet", "item_id", ITEMS[:400], side="items")
    refused("trained: its num_items is 500, expected 400", parts=more)
    narrow = write(tmp_path / "narrow.parquet", "item_id", ITEMS[:, :4].copy(), side="items")
    refused("trained: its dim is 8, expected 4", parts=narrow)
    second, gone = folder / "part-2-of-3.index", tmp_path / "gone"
    second.rename(gone)
    refused(r"2 of 3 parts are finished; missing: part-2-of-3\.index; type: .* shard=2/3")
    shutil.copytree(folder / "part-1-of-3.index", second)
    refused("part-2-of-3.index: its shard is 1/3, expected 2/3; move it away, and type: .* shard=2/3")
    shutil.rmtree(second)
    other = write_shards(items, IVFSQ.Config(nlist=7, min_recall=0.9), tmp_path / "other", users)
    facts = json.loads((other / second.name / "shard.json").read_text())
    shutil.copytree(other / second.name, second)
    (second / "shard.json").write_text(json.dumps({**facts, "index.min_recall": 0.95, "trained": "def"}))
    refused("part-2-of-3.index: its trained is def, expected ")
    shutil.rmtree(second)
    shutil.copytree(gone, second)
    with (second / "index.faiss").open("ab") as file:
        file.write(b"x")
    refused("part-2-of-3.index: its sha256 is .*, expected ")
    (second / "shard.json").unlink()
    refused(r"part-2-of-3\.index: not readable \(.*\); move it away, and type: ")


def test_vectors_that_are_not_finite_and_other_kinds_are_refused(users, tmp_path):
    broken = ITEMS.copy()
    broken[300, 2] = np.nan
    path = write(tmp_path / "items.parquet", "item_id", broken, side="items")
    with pytest.raises(InputError, match="item vectors for training: value nan at position 300, column 2"):
        train_shards(path, None, CONFIGS[0], tmp_path / "shards")
    whole = write(tmp_path / "whole.parquet", "item_id", ITEMS, side="items")
    train_shards(whole, None, CONFIGS[0], tmp_path / "shards")
    with pytest.raises(InputError, match="item vectors: value nan at position 300, column 2"):
        build_shard(path, CONFIGS[0], Shard(2, 3), tmp_path / "shards", COMMAND)
    with pytest.raises(InputError, match="item vectors: value nan at position 300, column 2"):
        build_index(path, users, CONFIGS[0], tmp_path / "out", on_disk=True)
    with pytest.raises(InputError, match=r"on_disk: index=flat_ip does not hold .*; type index="):
        build_index(path, users, FlatIP.Config(), tmp_path / "out", on_disk=True)
    with pytest.raises(InputError, match="shard: index=flat_ip does not hold"):
        train_shards(path, None, FlatIP.Config(), tmp_path / "others")


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
    shards = write_shards(items, config, tmp_path / "shards", users)
    for name, given in (("one", None), ("merged", shards)):
        assert build_index(items, users, config, tmp_path / name, shards=given) == DONE
    one, other = ((tmp_path / name / "index.faiss").read_bytes() for name in ("one", "merged"))
    assert one == other
    broken = ITEMS.copy()
    broken[130, 1] = np.nan
    with pytest.raises(InputError, match="item vectors: value nan at position 130, column 1"):
        index.build(broken, np.arange(NUM_ITEMS))
