"""Ids as clients write them: numbers, their text, and what is neither."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import tiny_bundle
from app_clients import client_of
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.vocabulary import Vocabulary
from twotower.serving.http.routes import read_id
from twotower.serving.live.live_service import LiveService

Ask = Callable[[str, str, Any], httpx.Response]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bool], Ask]]:
    """Ask a service whose ids are text (True), or numbers (False)."""
    with asyncio.Runner() as runner:
        clients, stack = {}, AsyncExitStack()
        for text in (True, False):
            folder = tmp_path_factory.mktemp("run")
            tiny_bundle.write(folder / "bundle", text=text, history_items="tower")
            service = LiveService(folder, folder / "bundle", None)
            clients[text] = runner.run(stack.enter_async_context(client_of(service)))

        def of(text: bool) -> Ask:
            return lambda method, path, body: runner.run(clients[text].request(method, path, json=body))

        yield of
        runner.run(stack.aclose())


def test_text_is_read_as_the_number_that_it_writes_where_ids_are_numbers(ask: Callable[[bool], Ask]) -> None:
    asked = ask(False)
    for body, same in (
        ({"user_id": 3, "k": 5}, {"user_id": "3", "k": 5}),
        (
            {"user_id": 3, "history": [1030, 1031], "allow": [1001, 1002, 1003], "deny": [1002]},
            {"user_id": "3", "history": ["1030", 1031], "allow": ["1001", "1002", "1003"], "deny": ["1002"]},
        ),
    ):
        expected = asked("POST", "/recommend", body)
        assert expected.status_code == 200
        assert asked("POST", "/recommend", same).json() == expected.json()
        batch = asked("POST", "/recommend/batch", {"requests": [same]}).json()
        assert batch["answers"] == [{"items": expected.json()["items"]}]


def test_an_event_of_text_is_that_of_the_number(ask: Callable[[bool], Ask]) -> None:
    asked = ask(False)
    event = {"item_id": "1050", "time": tiny_bundle.NOW}
    assert asked("POST", "/users/900/events", event).status_code == 200
    assert asked("DELETE", "/items/1050", None).status_code == 200
    assert asked("GET", "/items/1050", None).json()["offered"] is False
    allowed = asked("POST", "/recommend", {"user_id": "900", "allow": ["1050"]}).json()["error"]["message"]
    assert allowed == (
        "allow: item 1050 was removed from the catalogue; leave it out, or offer it again with "
        "PUT /items/{item_id}"
    )


NUMBERS, TEXT = "whole numbers of 64 bits", "text of 1 to "
MISTAKES: list[tuple[bool, str, str, Any, int, str]] = [
    (False, "POST", "/recommend", {"user_id": "anna"}, 404, f"user ids of this bundle are {NUMBERS}"),
    (False, "POST", "/recommend", {"user_id": "007"}, 404, f"user ids of this bundle are {NUMBERS}"),
    (False, "POST", "/recommend", {"user_id": "9" * 19}, 404, f"user ids of this bundle are {NUMBERS}"),
    (False, "POST", "/recommend", {"history": ["lamp"]}, 404, f"item ids of this catalogue are {NUMBERS}"),
    (False, "GET", "/users/anna", None, 422, f"user ids of this bundle are {NUMBERS}"),
    (False, "GET", "/items/lamp", None, 422, f"item ids of this bundle are {NUMBERS}"),
    (False, "POST", "/users/3/events", {"item_id": "lamp"}, 404, f"item ids of this catalogue are {NUMBERS}"),
    (True, "POST", "/recommend", {"user_id": 3}, 404, f"user ids of this bundle are {TEXT}"),
    (True, "POST", "/recommend", {"allow": [3]}, 404, f"item ids of this catalogue are {TEXT}"),
    (True, "POST", "/users/u/events", {"item_id": 3}, 404, f"item ids of this catalogue are {TEXT}"),
]


@pytest.mark.parametrize(("text", "method", "path", "body", "status", "part"), MISTAKES)
def test_what_is_no_id_of_the_bundle_is_told_what_ids_are(
    ask: Callable[[bool], Ask], text: bool, method: str, path: str, body: Any, status: int, part: str
) -> None:
    answer = ask(text)(method, path, body)
    assert (answer.status_code, part in answer.json()["error"]["message"]) == (status, True), answer.text


def test_an_item_is_shown_as_it_is_now(ask: Callable[[bool], Ask]) -> None:
    asked = ask(True)
    assert asked("GET", "/items/new%2F1", None).status_code == 404
    assert asked("PUT", "/items/new%2F1", {"features": {"title": "RED CUP", "price": 2}}).status_code == 200
    found = asked("GET", "/items/new%2F1", None).json()
    features = {"title": "RED CUP", "price": 2, "tags": None, "mixed": None}
    assert found | {"version": ""} == {
        "version": "",
        "item_id": "new/1",
        "label": "RED CUP",
        "offered": True,
        "live": True,
        "features": features,
    }
    known = asked("GET", "/items/item-001", None).json()
    assert (known["live"], known["offered"], known["label"]) == (False, True, known["features"]["title"])


def test_who_is_not_known_is_told_of_endpoints_alone(ask: Callable[[bool], Ask]) -> None:
    for method, path, body in (("POST", "/recommend", {"user_id": "x"}), ("GET", "/users/x", None)):
        message = ask(True)(method, path, body).json()["error"]["message"]
        assert "PUT /users/{user_id}" in message
        assert "POST /recommend without user_id" in message
        assert "()" not in message


@given(st.integers(-(2**70), 2**70))
def test_a_number_is_read_from_the_one_way_to_write_it(number: int) -> None:
    numbers, text = Vocabulary.fit([1, 2]), Vocabulary.fit(["a"])
    fits = -(2**63) <= number < 2**63
    assert read_id(str(number), numbers) == (number if fits else str(number))
    assert read_id(number, numbers) == number
    assert read_id(str(number), text) == str(number)
    for other in (f" {number}", f"0{number}", f"+{number}", f"{number}.0"):
        assert read_id(other, numbers) == other
