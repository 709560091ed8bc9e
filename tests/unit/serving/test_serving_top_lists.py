"""The best items of many users as a file: the retriever's answers, every row counted."""

import os
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_bundle

from twotower.config.errors import InputError
from twotower.serving import top_lists
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever
from twotower.serving.top_lists import write_top_lists

SCHEMA = {"user_id": pa.string(), "rank": pa.int32(), "item_id": pa.string(), "score": pa.float32()}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(top_lists, "PART_ROWS", 40)
    monkeypatch.setattr(top_lists, "USERS_PER_PASS", 3)


@pytest.fixture(params=[True, False], ids=["text", "numbers"])
def bundle(request, tmp_path):
    tiny_bundle.write(tmp_path / "bundle", text=request.param)
    return tmp_path / "bundle"


def answers(retriever, user, **rules):
    return [
        (user, rank, each.item_id, pytest.approx(each.score, rel=1e-5))
        for rank, each in enumerate(retriever.recommend(user, **rules), start=1)
    ]


def rows(path):
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize(
    "rules",
    [
        {"k": 10},
        {"k": 60, "exclude_seen": False},
        {"k": 200},
        {"k": 5, "where": {"tags": ["gift"], "price": {"max": 6.0}}, "request_time": tiny_bundle.NOW + 9},
    ],
)
def test_everybody_gets_what_the_retriever_answers(bundle, tmp_path, rules):
    retriever = Retriever.open(bundle)
    told = write_top_lists(bundle, tmp_path / "top.parquet", "all", Request(**rules))
    expected = [row for user in retriever.user_ids for row in answers(retriever, user, **rules)]
    assert rows(tmp_path / "top.parquet") == expected
    numbers = {} if retriever.bundle.users.is_text else dict.fromkeys(("user_id", "item_id"), pa.int64())
    schema = pq.read_schema(tmp_path / "top.parquet")
    assert dict(zip(schema.names, schema.types, strict=True)) == SCHEMA | numbers
    fewer = 12 * rules["k"] - len(expected)
    short = f", {fewer:,} fewer than {rules['k']} each" if fewer else ""
    if rules["k"] == 200:  # 60 items, less what each has: 3 u, one of them twice for user 2, none for user 12
        assert len(expected) == 12 * 60 - 3 * sum(range(1, 12)) + 1
    assert told == f"ok  12 users, {len(expected)} rows{short}  {tmp_path / 'top.parquet'}"


def test_the_context_of_all_requests(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", told=True)
    retriever, rules = Retriever.open(tmp_path / "bundle"), {"k": 4, "context": {"device": "desk"}}
    write_top_lists(tmp_path / "bundle", tmp_path / "top.parquet", "all", Request(**rules))
    expected = [row for user in retriever.user_ids for row in answers(retriever, user, **rules)]
    assert rows(tmp_path / "top.parquet") == expected


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_some_users_by_id_or_file_in_their_order(bundle, tmp_path, suffix):
    retriever = Retriever.open(bundle)
    some = [retriever.user_ids[place] for place in (7, 2, 11)]
    deny = retriever.item_ids[:30]
    path = tmp_path / f"ids.{suffix}"
    if suffix == "csv":
        path.write_text("note,user_id\n" + "".join(f"x,{user}\n" for user in some))
    else:
        pq.write_table(pa.table({"user_id": some}), path)
    write_top_lists(bundle, tmp_path / "list.parquet", some, Request(k=4, deny=deny))
    write_top_lists(bundle, tmp_path / "file.parquet", str(path), Request(k=4, deny=deny))
    assert rows(tmp_path / "list.parquet") == rows(tmp_path / "file.parquet")
    expected = [row for user in some for row in answers(retriever, user, k=4, deny=deny)]
    assert rows(tmp_path / "list.parquet") == expected


def test_after_a_kill_the_same_command_goes_on(bundle, tmp_path, monkeypatch):
    write_top_lists(bundle, tmp_path / "whole.parquet", "all", Request(k=10))
    child = os.fork()
    if not child:  # kill -9 in the third of three parts, of 4 users each
        answer, calls = Retriever.answer, []

        def killed(self, requests):
            calls.append(1)
            if len(calls) > 6:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer(self, requests)

        monkeypatch.setattr(Retriever, "answer", killed)
        write_top_lists(bundle, tmp_path / "out.parquet", "all", Request(k=10))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not (tmp_path / "out.parquet").exists()
    with pytest.raises(InputError, match="of another command or bundle"):
        write_top_lists(bundle, tmp_path / "out.parquet", "all", Request(k=10, exclude_seen=False))
    assert "120 rows" in write_top_lists(bundle, tmp_path / "out.parquet", "all", Request(k=10))
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize(
    ("users", "rules", "message"),
    [
        (
            ["user-01", "nobody", 3],
            {},
            r"users: 2 of 3 ids are not among the 12 users .* text\), the first is 'nobody'",
        ),
        (
            ["user-01", "user-02", "user-01"],
            {},
            "users: 'user-01' is listed more than once; list each user once",
        ),
        ([], {}, "users: the list is empty; name users, or all"),
        (
            "ids.csv",
            {},
            "expected all, a list of ids .* a file with a column 'user_id', and there is no file",
        ),
        ("all", {"where": {"prize": 3}}, "where: 'prize' is no column .* did you mean 'price'"),
        ("all", {"allow": ["item-001", "gone"]}, "allow: item 'gone' is not in the catalogue"),
        ("all", {"request_time": 12}, "request_time: expected whole unix seconds"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, users, rules, message):
    tiny_bundle.write(tmp_path / "bundle")
    with pytest.raises(InputError, match=message):
        write_top_lists(tmp_path / "bundle", tmp_path / "new" / "out.parquet", users, Request(**rules))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("text", "read"),
    [("1234567890123400001", "1234567890123400001;"), ("9" * 19, "9" * 19), ("007", "'007';")],
)
def test_ids_of_a_file_are_read_as_those_of_a_log(tmp_path, text, read):
    tiny_bundle.write(tmp_path / "bundle", text=False)
    (tmp_path / "ids.csv").write_text(f"user_id\n{text}\n")
    with pytest.raises(InputError, match=f"the first is {read}"):
        write_top_lists(tmp_path / "bundle", tmp_path / "out.parquet", str(tmp_path / "ids.csv"), Request())


def test_a_file_of_numbers_with_a_word_among_them_names_it(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", text=False)
    (tmp_path / "ids.csv").write_text("user_id\n3\nseven\n")
    with pytest.raises(InputError, match=r"1 of 2 ids in .*ids.csv .* whole numbers.* first is 'seven'"):
        write_top_lists(tmp_path / "bundle", tmp_path / "out.parquet", str(tmp_path / "ids.csv"), Request())
