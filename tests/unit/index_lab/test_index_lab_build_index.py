"""An index of files that `twotower embed` could have written: twelve items by hand, in three parts."""

import itertools
import json
import shutil

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twotower.bundle.vector_files import VectorFiles
from twotower.config.errors import InputError
from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.files.shards import Shard
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index_lab.build_index import build_index

DIM, NUM_ITEMS, NUM_USERS = 3, 12, 7
ITEMS = np.arange(NUM_ITEMS * DIM, dtype=np.float32).reshape(NUM_ITEMS, DIM) % 7
IDS = [f"item-{number:02d}" for number in range(NUM_ITEMS)]
USERS = np.eye(NUM_USERS, DIM, dtype=np.float32) + 0.25


def write(path, ids, vectors, **plan):
    """Write a file with one row group for two ids; vectors are [n, D], or [n, K, D]."""
    plan = {"command": "embed", "bundle": "abc", "side": "items"} | plan
    values, column = pa.array(vectors.reshape(-1)), "vector" if vectors.ndim == 2 else "vectors"
    for size in reversed(vectors.shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    name = {"items": "item_id", "users": "user_id"}[plan["side"]]
    table = pa.table({name: pa.array(ids), column: values})
    path.parent.mkdir(exist_ok=True)
    table = table.replace_schema_metadata({b"twotower": json.dumps(plan)})
    pq.write_table(table, path, row_group_size=2, write_page_checksum=True)
    return path


def write_part(folder, number, ids=None, vectors=ITEMS, count=3, **plan):
    shard = Shard(number, count)
    rows = shard.positions(NUM_ITEMS)
    ids = IDS[rows.start : rows.stop] if ids is None else ids
    path = folder / f"{shard.name}.parquet"
    return write(path, ids, vectors[rows.start : rows.stop], **{"shard": str(shard)} | plan)


@pytest.fixture
def parts(tmp_path):
    for number in (1, 2, 3):
        write_part(tmp_path / "parts", number)
    return tmp_path / "parts"


@pytest.fixture
def users(tmp_path):
    return write(tmp_path / "users.parquet", list(range(NUM_USERS)), USERS, side="users")


def config(kind=FlatIP, **settings):
    return kind.Config.from_spec(settings, "index")


def test_a_faiss_id_is_the_position_of_the_id(parts, users, tmp_path, capsys):
    out = tmp_path / "new" / "index"
    assert build_index(parts, users, config(), out) == DONE
    assert capsys.readouterr().out.startswith("ok  12 items, flat_ip, recall@12 1.0000, ")
    assert sorted(path.name for path in out.iterdir()) == ["index.faiss", "items.parquet", "report.json"]
    assert [path.name for path in out.parent.iterdir()] == ["index"]
    assert pq.read_table(out / "items.parquet").to_pydict() == {"item_id": IDS}
    scores, positions = faiss.read_index(str(out / "index.faiss")).search(USERS, 2)
    expected = USERS @ ITEMS.T
    np.testing.assert_array_equal(scores, np.sort(expected, axis=1)[:, :-3:-1])
    np.testing.assert_array_equal(np.take_along_axis(expected, positions, axis=1), scores)
    content = json.loads((out / "report.json").read_text())
    assert (content["bundle"], content["queries"], content["report"]["num_vectors"]) == ("abc", "users", 12)
    with pytest.raises(InputError, match=f"out={out}: exists, and is never overwritten"):
        build_index(parts, users, config(), out)


def test_one_file_gives_the_index_of_its_parts(parts, users, tmp_path):
    whole = write(tmp_path / "items.parquet", IDS, ITEMS)
    for name, source in (("parts", parts), ("whole", whole)):
        settings = config(IVFFlat, nlist=3, target_recall=0.9, min_recall=0.5)
        assert build_index(source, users, settings, tmp_path / name / "index") == DONE
    one, other = ((tmp_path / name / "index" / "index.faiss").read_bytes() for name in ("parts", "whole"))
    assert one == other


def test_without_users_items_are_the_queries_and_a_rejected_index_is_kept(parts, tmp_path, capsys, caplog):
    settings = config(IVFFlat, nlist=3, nprobe=1, min_recall=0.99)
    assert build_index(parts, None, settings, tmp_path / "index") == INDEX_REJECTED
    assert "queries: not set, so item vectors take the place of users" in caplog.text
    assert "below index.min_recall 0.99" in caplog.text
    assert capsys.readouterr().out.startswith("rejected  12 items, ivf_flat nprobe=1, recall@12 0.")
    content = json.loads((tmp_path / "index" / "report.json").read_text())
    assert (content["queries"], content["report"]["ok"]) == ("items", False)


def refused(message, parts, queries, tmp_path, **settings):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        build_index(parts, queries, config(IVFFlat, **settings), tmp_path / "index")
    assert sorted(tmp_path.rglob("*")) == before


def test_files_that_do_not_belong_together_are_refused(parts, users, tmp_path):
    again = rf"type: twotower embed run=RUN side=items out={parts} shard=2/3"
    second = parts / "part-2-of-3.parquet"
    second.rename(parts / ".part-2")
    missing = "2 of 3 parts are finished; missing: part-2-of-3.parquet; "
    refused(missing + again, parts, None, tmp_path)
    write_part(parts, 2, count=2)
    refused("has part-[*]-of-2 and part-[*]-of-3; expected one number", parts, None, tmp_path)
    (parts / "part-2-of-2.parquet").unlink()
    shutil.copy(parts / "part-1-of-3.parquet", second)
    refused(f"{second}: its shard is 1/3, expected 2/3; move it away, and {again}", parts, None, tmp_path)
    for plan, message in (
        ({"bundle": "def"}, r"run \(SHA-256 of its bundle\) is def, expected abc"),
        ({"part_rows": 9}, "part_rows is 9, expected None"),
        ({"ids": [1, 2, 3, 4]}, r"columns is item_id int64, .*, expected item_id string, vector fixed_size"),
        ({"vectors": ITEMS[:, :2]}, r"columns is .*\[2\], expected .*\[3\]"),
        ({"ids": ["item-03", "item-05", "item-06", "item-07"]}, "item_id item-03 follows item-03; expected"),
        ({"ids": ["item-04", "item-06", "item-05", "item-07"]}, "item_id item-05 follows item-06; expected"),
    ):
        write_part(parts, 2, **plan)
        refused(f"{second}: .*{message}.*; move it away, and {again}", parts, None, tmp_path)
    damaged = bytearray(write_part(parts, 2).read_bytes())
    damaged[40] ^= 1
    second.write_bytes(damaged)
    refused(rf"{second}: not readable \(.*\); move it away, and {again}", parts, None, tmp_path)
    second.write_bytes(b"PAR1")
    refused(rf"{second}: not readable \(.*\); move it away, and {again}", parts, None, tmp_path)


def test_wrong_names_and_settings_are_refused(parts, users, tmp_path):
    gone, empty = tmp_path / "gone", tmp_path / "empty"
    empty.mkdir()
    refused(f"parts={gone}: there is no such file or folder; type: twotower embed", gone, None, tmp_path)
    refused(f"parts={empty}: has no finished part; type: .* shard=1/n, up to", empty, None, tmp_path)
    swapped = r"has no vectors of {}; expected the output of: twotower embed run=RUN side={} out="
    refused(f"parts={users}: .*" + swapped.format("items", "items"), users, None, tmp_path)
    refused(f"queries={parts}: .*" + swapped.format("users", "users"), parts, parts, tmp_path)
    part = parts / "part-2-of-3.parquet"
    refused(f"parts={part}: is part 2/3; name the folder of all parts", part, None, tmp_path)
    pq.write_table(pa.table({"item_id": IDS}), tmp_path / "other.parquet")
    refused("other.parquet has no vectors of items", tmp_path / "other.parquet", None, tmp_path)
    refused("index.nlist: 13 lists are more than the 12 vectors", parts, users, tmp_path, nlist=13)
    write(users, [1, 2], USERS[:2], side="users", bundle="def")
    refused(f"queries={users}: of another run than parts={parts}", parts, users, tmp_path)


def test_blocks_are_row_groups(parts):
    files = VectorFiles.open("parts", parts, "items")
    assert (files.num_rows, files.dim, files.bundle) == (NUM_ITEMS, DIM, "abc")
    blocks = list(files.blocks())
    assert [len(ids) for ids, _ in blocks] == [2] * 6
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), ITEMS)
    assert list(itertools.chain(*(ids.to_pylist() for ids, _ in blocks))) == IDS
