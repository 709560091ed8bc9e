"""All embeddings as a file: ids and lists of one length, whose dot products are the scores."""

import functools
import json
import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_bundle
from forks import Fork

from twotower.bundle import vectors
from twotower.bundle.vectors import write_vectors
from twotower.config.errors import InputError
from twotower.files.shards import Shard
from twotower.serving.retriever import Retriever


def array(table):
    column = table["vector"].combine_chunks()
    return column.flatten().to_numpy().reshape(-1, column.type.list_size)


@pytest.mark.parametrize(("text", "history_items"), [(True, "table"), (False, "tower")])
def test_dot_products_are_the_scores_of_the_retriever(tmp_path, monkeypatch, text, history_items):
    monkeypatch.setattr(vectors, "PART_VALUES", 7 * tiny_bundle.DIM)
    monkeypatch.setattr(vectors, "ROWS_PER_PASS", 3)
    _, item_embeddings = tiny_bundle.write(tmp_path / "bundle", text=text, history_items=history_items)
    retriever = Retriever.open(tmp_path / "bundle")
    for side, num in (("users", 12), ("items", 60)):
        out = tmp_path / f"{side}.parquet"
        assert (
            write_vectors(tmp_path / "bundle", side, out) == f"ok  {num} {side}, vectors of 8 numbers  {out}"
        )
        assert pq.read_metadata(out).num_row_groups == -(-num // 7)
    users, items = (pq.read_table(tmp_path / f"{side}.parquet") for side in ("users", "items"))
    kind = pa.string() if text else pa.int64()
    assert [users.schema.field(0).type, items.schema.field(0).type] == [kind, kind]
    for table in (users, items):
        kind = table.schema.field("vector").type
        assert (kind.list_size, kind.value_type) == (tiny_bundle.DIM, pa.float32())
    np.testing.assert_array_equal(array(items), item_embeddings)
    assert users["user_id"].to_pylist() == retriever.user_ids
    assert items["item_id"].to_pylist() == retriever.item_ids
    scores = array(users) @ array(items).T
    for place, user in enumerate(retriever.user_ids):
        found = retriever.recommend(user, k=60, exclude_seen=False)
        of = {each.item_id: each.score for each in found}
        expected = [of[item] for item in items["item_id"].to_pylist()]
        np.testing.assert_allclose(scores[place], expected, rtol=1e-4, atol=1e-5)


def test_users_are_embedded_in_the_context_that_is_given(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", told=True)
    retriever = Retriever.open(tmp_path / "bundle")
    write_vectors(tmp_path / "bundle", "items", tmp_path / "items.parquet")
    items = array(pq.read_table(tmp_path / "items.parquet"))
    for name, context in (("none", {}), ("phone", {"device": "phone", "hour": 8.0})):
        write_vectors(tmp_path / "bundle", "users", tmp_path / f"{name}.parquet", context=context)
        scores = array(pq.read_table(tmp_path / f"{name}.parquet")) @ items.T
        for place, user in enumerate(retriever.user_ids):
            best = retriever.recommend(user, k=1, exclude_seen=False, context=context)[0]
            assert best.item_id == retriever.item_ids[int(scores[place].argmax())]
            assert best.score == pytest.approx(float(scores[place].max()), rel=1e-5)
    assert not np.array_equal(
        *(array(pq.read_table(tmp_path / f"{each}.parquet")) for each in ("none", "phone"))
    )
    for side, context, message in [
        ("users", {"devise": "phone"}, "context: 'devise' is not a feature .* did you mean 'device'"),
        ("users", {"hour": "late"}, "context: column 'hour'"),
        ("items", {"hour": 8.0}, "context: applies to side=users only"),
    ]:
        with pytest.raises(InputError, match=message):
            write_vectors(tmp_path / "bundle", side, tmp_path / "out.parquet", context=context)
        assert not (tmp_path / "out.parquet").exists()


def test_all_shards_together_are_the_file_to_the_last_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "PART_VALUES", 5 * tiny_bundle.DIM)
    monkeypatch.setattr(vectors, "ROWS_PER_PASS", 3)
    tiny_bundle.write(tmp_path / "bundle")
    for side, num in (("users", 12), ("items", 60)):
        write_vectors(tmp_path / "bundle", side, tmp_path / f"{side}.parquet")
        whole = pq.read_table(tmp_path / f"{side}.parquet").replace_schema_metadata()
        parts = []
        for shard in (Shard(number, 5) for number in range(1, 6)):
            out = shard.part(tmp_path / side)
            write_vectors(tmp_path / "bundle", side, out, shard=shard)
            parts.append(pq.read_table(out).replace_schema_metadata())
            assert json.loads(pq.read_schema(out).metadata[b"twotower"])["shard"] == str(shard)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert pa.concat_tables(parts).equals(whole)
        with pytest.raises(
            InputError, match=rf"shard=1/{num + 1}: .* has only {num} {side}; expected n of at"
        ):
            write_vectors(tmp_path / "bundle", side, tmp_path / "no.parquet", shard=Shard(1, num + 1))


def test_the_padding_of_a_pass_is_that_of_the_whole_file(tmp_path, monkeypatch):
    """The second user of a pass is embedded with the first one, whatever shard asks for it."""
    monkeypatch.setattr(vectors, "ROWS_PER_PASS", 4)
    tiny_bundle.write(tmp_path / "bundle")
    passes, embed = [], vectors.embed_users
    monkeypatch.setattr(vectors, "embed_users", lambda *given: passes.append(len(given[3])) or embed(*given))
    write_vectors(tmp_path / "bundle", "users", tmp_path / "part.parquet", shard=Shard(2, 2))  # 6 to 11
    assert passes == [4, 4]


def test_a_killed_shard_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "PART_VALUES", 2 * tiny_bundle.DIM)
    tiny_bundle.write(tmp_path / "bundle")
    shard, calls, embed = Shard(2, 2), [], vectors.embed_users
    out, whole = shard.part(tmp_path / "users"), shard.part(tmp_path / "whole")
    write_vectors(tmp_path / "bundle", "users", whole, shard=shard)

    def killed_in_the_third_call(*given):
        calls.append(given)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return embed(*given)

    monkeypatch.setattr(vectors, "embed_users", killed_in_the_third_call)
    write = functools.partial(write_vectors, tmp_path / "bundle", "users", out)
    assert Fork(lambda: write(shard=shard), tmp_path / "log").wait() == -signal.SIGKILL
    assert not out.exists()
    assert write(shard=shard) == f"ok  6 users, vectors of 8 numbers  {out}"
    assert len(calls) == 1  # the third of three parts
    assert out.read_bytes() == whole.read_bytes()
    with pytest.raises(InputError, match="exists, and is never overwritten"):
        write(shard=shard)
