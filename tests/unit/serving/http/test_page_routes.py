"""The page and what it asks, through the whole application."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle
from app_clients import Ask, asking

from twotower.serving.http.api_keys import Keys
from twotower.serving.http.page_routes import PAGE_FOLDER
from twotower.serving.live.live_service import LiveService

READ = "a key that may only read".replace(" ", "-")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        (folder / name).mkdir()
        tiny_bundle.write(folder / name / "bundle", kind="flat_ip" if name == "first" else "ivf_flat")
    (folder / "no bundle").mkdir()
    return folder


@pytest.fixture(scope="module")
def live(root: Path) -> LiveService:
    return LiveService(root, root / "first" / "bundle", None, lambda folder: folder / "bundle")


@pytest.fixture(scope="module")
def get(live: LiveService) -> Iterator[Ask]:
    with asking(live) as asked:
        yield partial(asked, "GET")


def test_the_page_and_all_it_names_are_there_under_a_strict_policy(get: Ask) -> None:
    page = get("/")
    assert page.status_code == 200
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    named = set(re.findall(r'"(/page/[^"]+)"', page.text))
    scripts = {f"/page/{path.name}" for path in PAGE_FOLDER.glob("*.js")}
    for address in named | scripts:
        found = get(address)
        assert found.status_code == 200, address
        assert found.headers["x-content-type-options"] == "nosniff"


def test_no_script_or_style_stands_in_the_text_and_data_never_become_markup() -> None:
    text = (PAGE_FOLDER / "index.html").read_text()
    assert not re.search(r"\son\w+=|style=|<style|<script(?![^>]*src=)", text)
    for path in PAGE_FOLDER.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()
        )


def test_every_field_has_a_label_and_every_reference_an_aim() -> None:
    text = (PAGE_FOLDER / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for field in re.findall(r"<(?:input|select)[^>]*>", text):
        own = re.search(r'id="([^"]+)"', field)
        assert own is not None
        inside = re.search(rf"<label[^>]*>[^<]*{re.escape(field)}", text)
        assert f'for="{own[1]}"' in text or inside, field
    for aims in re.findall(r'(?:aria-labelledby|aria-controls|aria-describedby|for)="([^"]+)"', text):
        assert set(aims.split()) <= set(ids)
    for path in PAGE_FOLDER.glob("*.js"):
        assert set(re.findall(r'byId\("([^"]+)"\)', path.read_text())) <= set(ids), path.name


def test_users_and_items_are_looked_up(get: Ask) -> None:
    found = get("/page/users", params={"query": "user-1", "limit": 2}).json()["users"]
    assert [user["user_id"] for user in found] == ["user-10", "user-11"]
    assert get("/page/users", params={"any": True}).json()["users"][0]["num_history"] > 0
    assert get("/page/users/user-01").json()["num_history"] == 3
    assert get("/page/users/nobody").status_code == 404
    assert get("/page/items", params={"query": "item-001"}).json()["items"][0]["item_id"] == "item-001"
    assert get("/page/item", params={"item": "item-001"}).json()["item"]["offered"] is True
    assert get("/page/item", params={"item": "never"}).status_code == 404


def test_facets_say_what_filters_take(get: Ask) -> None:
    answer = get("/page/facets").json()
    columns = {column["name"]: column for column in answer["columns"]}
    assert {column["kind"] for column in columns.values()} == {"text", "number", "tags"}
    assert columns["title"]["is_label"] is True
    assert sum(value["count"] for value in columns["tags"]["values"]) == 30 * 1 + 30 * 2 - _twice()
    assert answer["num_items"] == tiny_bundle.NUM_ITEMS


def _twice() -> int:
    """How many items say their two tags as one and the same."""
    tags = tiny_bundle.dataset().item_table["tags"]
    return sum(len(each) - len(set(each)) for each in tags)


def test_recommendations_come_with_their_reasons(get: Ask, live: LiveService) -> None:
    asked = {"user": "user-03", "k": 4, "where": '{"price": {"min": 1}}'}
    items = get("/page/recommend", params=asked).json()["items"]
    expected = live.retriever.recommend("user-03", k=4, where={"price": {"min": 1}})
    assert [entry["item_id"] for entry in items] == [each.item_id for each in expected]
    assert all(len(entry["nearest"]) == 2 and entry["attributes"]["price"] >= 1 for entry in items)
    (only,) = get("/page/recommend", params={"user": "user-03", "allow": ["item-020"]}).json()["items"]
    assert only["item_id"] == "item-020"
    assert get("/page/recommend", params={"user": "nobody"}).status_code == 404
    assert get("/page/recommend", params=asked | {"k": 101}).status_code == 422
    assert get("/page/recommend", params=asked | {"where": "{"}).status_code == 422


def test_similar_items_are_those_of_the_api(get: Ask) -> None:
    similar = get("/page/similar", params={"item": "item-020", "k": 3}).json()["items"]
    assert similar == get("/items/item-020/similar", params={"k": 3}).json()["items"]


def test_what_is_added_on_the_page_counts_and_is_not_kept(get: Ask, live: LiveService) -> None:
    asked = {"user": "user-01", "history": ["item-030", "item-031"], "k": 60}
    items = get("/page/recommend", params=asked).json()["items"]
    expected = live.retriever.recommend("user-01", k=60, history=["item-030", "item-031"])
    assert [entry["item_id"] for entry in items] == [each.item_id for each in expected]
    assert not {"item-030", "item-031"} & {entry["item_id"] for entry in items}
    near = {each["item_id"] for entry in items for each in entry["nearest"]}
    assert {"item-030", "item-031"} <= near
    assert get("/page/users/user-01").json()["num_history"] == 3
    assert get("/page/recommend", params=asked | {"history": ["never"]}).status_code == 404


def test_a_visitor_is_described(get: Ask, live: LiveService) -> None:
    (column,) = get("/page/facets").json()["profile"]
    assert (column["name"], column["kind"]) == ("country", "text")
    assert sum(each["count"] for each in column["values"]) == tiny_bundle.NUM_USERS
    asked = {"features": '{"country": "FR"}', "history": "item-030", "k": 5}
    items = get("/page/recommend", params=asked).json()["items"]
    expected = live.retriever.recommend_new({"country": "FR"}, ["item-030"], k=5)
    assert [entry["item_id"] for entry in items] == [each.item_id for each in expected]
    assert all(entry["nearest"][0]["item_id"] == "item-030" for entry in items)
    for wrong in ("{", "[]", '{"contry": "FR"}', '{"country": {}}'):
        answer = get("/page/recommend", params=asked | {"features": wrong})
        assert (answer.status_code, answer.json()["error"]["key"][:8]) == (422, "features"), wrong


BIG = 2**53 + 1
"""The first whole number that JSON.parse of a browser rounds."""


def test_ids_are_text_however_large_the_numbers(tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle", text=False)
    with asking(LiveService(tmp_path, tmp_path / "bundle", None)) as asked:
        put = asked("PUT", f"/items/{BIG}", json={"features": {"title": "BIG CUP", "tags": ["home"]}})
        assert put.status_code == 200
        assert asked("POST", f"/users/{BIG}/events", json={"item_id": BIG}).status_code == 200

        def get(path: str, **params: Any) -> Any:
            return asked("GET", path, params=params).json()

        assert get("/page/users", query="9007")["users"][0]["user_id"] == str(BIG)
        user = get(f"/page/users/{BIG}")
        assert user["user_id"] == user["history"][0]["item_id"] == str(BIG)
        best = get("/page/recommend", user=str(BIG), exclude_seen=False, allow=str(BIG))["items"]
        assert best[0]["item_id"] == str(BIG)
        assert get("/page/items", query="big cup")["items"][0]["item_id"] == str(BIG)
        assert get("/page/item", item=str(BIG))["item"]["item_id"] == str(BIG)
        similar = get("/page/similar", item=str(BIG))["items"]
        assert all(isinstance(entry["item_id"], str) for entry in similar)


def test_the_page_is_open_and_what_it_shows_wants_a_key(root: Path) -> None:
    with asking(LiveService(root, root / "first" / "bundle", None), Keys([f"read {READ}"])) as asked:
        for path in ("/", "/page/style.css", "/page/page.js"):
            assert asked("GET", path).status_code == 200
        authorized = {"Authorization": f"Bearer {READ}"}
        for path in ("/page/users", "/page/users/user-01", "/page/facets"):
            assert asked("GET", path).status_code == 401
            assert asked("GET", path, headers=authorized).status_code == 200
