"""The same request through HTTP, the retriever and by hand: the same scores."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_bundle
import torch
from app_clients import client_of
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.bundle.read import Bundle
from twotower.model.towers.user_batch import UserBatch
from twotower.serving.live.changes import EventAdded, UserPut
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request

NOW, K = tiny_bundle.NOW, tiny_bundle.NUM_ITEMS
PUT = {
    "user-04": {"country": "FR", "likes": ["books"]},
    "stranger": {"country": "GB", "age": 44.0, "likes": "tea"},
}
LATE = ("user-05", "item-033", NOW + 3600)


Post = Callable[[str, str, Any], httpx.Response]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveService, Post]]:
    """A service with live changes, and a function that asks it."""
    run = tmp_path_factory.mktemp("moment")
    tiny_bundle.write(run / "bundle", history_items="tower", profiles=True)
    with asyncio.Runner() as runner:
        clients, live = AsyncExitStack(), LiveService(run, run / "bundle", None)
        for user, features in PUT.items():
            live.write(UserPut(user, features))
        live.write(EventAdded(*LATE))
        client = runner.run(clients.enter_async_context(client_of(live)))

        def ask(method: str, path: str, body: Any) -> httpx.Response:
            return runner.run(client.request(method, path, json=body))

        yield live, ask
        runner.run(clients.aclose())


def by_hand(bundle: Bundle, asked: dict[str, Any]) -> dict[str, float]:
    """Scores of all items for a request, with nothing of the service."""
    user = asked.get("user_id")
    row = bundle.users.row(user) if user is not None else 0
    raw: dict[str, Any] = dict(bundle.user_table.iloc[row - 1]) if row else {}
    if user in PUT:
        raw = dict(PUT[user])
    raw |= asked.get("features", {})
    if user is not None:
        raw["user_id"] = user
    start, end = bundle.history.offsets[row : row + 2]
    rows, times = bundle.history.items[start:end].tolist(), bundle.history.times[start:end].tolist()
    now = asked.get("request_time", NOW)
    if user == LATE[0]:
        rows, times = [*rows, bundle.items.row(LATE[1])], [*times, LATE[2]]
        now = asked.get("request_time", LATE[2])
    session = asked.get("history", [])
    given_times = asked.get("history_times", [now] * len(session))
    if user is not None and "request_time" not in asked:
        now = max([now, *given_times])
    rows, times = [*rows, *map(bundle.items.row, session)], [*times, *given_times]
    padded = [([0] * tiny_bundle.LENGTH + each)[-tiny_bundle.LENGTH :] for each in (rows, times)]
    with torch.inference_mode():
        given = *(torch.tensor([each]) for each in padded), torch.tensor([now])
        query = bundle.model.encode_users(UserBatch.from_features(bundle.model.users.encode([raw]), *given))
    scores = (query.numpy() @ np.asarray(bundle.item_embeddings).T)[0]
    return dict(zip(bundle.items.values.tolist(), scores.tolist(), strict=True))


FEATURES = st.fixed_dictionaries(
    {},
    optional={
        "country": st.sampled_from(["DE", "FR", "Atlantis", None]),
        "age": st.sampled_from([0.5, 33, 77.0, None]),
        "likes": st.sampled_from([["tea"], "books|tea", [], None]),
    },
)
ITEMS = [f"item-{row:03d}" for row in range(1, K + 1)]


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Known users, with and without a history, events and a profile, one put in, nobody; and the moment."""
    session = draw(st.lists(st.sampled_from(ITEMS), max_size=7))
    asked: dict[str, Any] = {"k": K, "exclude_seen": False, "history": session}
    user = draw(st.sampled_from(["user-01", "user-12", "user-04", "user-05", "stranger", None]))
    if user is not None:
        asked["user_id"] = user
    if features := draw(FEATURES):
        asked["features"] = features
    if draw(st.booleans()):
        times = st.integers(NOW - 10**7, NOW + 10**7)
        asked["history_times"] = sorted(draw(times) for _ in session)
    if draw(st.booleans()):
        asked["request_time"] = NOW + draw(st.integers(0, 10**7))
    return asked


@settings(max_examples=12)
@given(asked=st.lists(requests(), min_size=1, max_size=6))
def test_http_the_retriever_and_the_towers_by_hand_say_the_same(
    service: tuple[LiveService, Post], asked: list[dict[str, Any]]
) -> None:
    live, ask = service
    answers = ask("POST", "/recommend/batch", {"requests": asked}).json()["answers"]
    one = ask("POST", "/recommend", asked[0]).json()
    for wanted, answer in zip([*asked, asked[0]], [*answers, one], strict=True):
        (alone,) = live.retriever.answer([Request(**wanted)])
        assert not isinstance(alone, Exception)
        expected = by_hand(live.retriever.bundle, wanted)
        for found in (answer["items"], [vars(each) for each in alone]):
            scores = {each["item_id"]: each["score"] for each in found}
            assert scores == pytest.approx(expected, abs=1e-6, rel=0)


def test_a_profile_comes_goes_and_is_shown(service: tuple[LiveService, Post]) -> None:
    live, ask = service
    version = live.retriever.version
    assert ask("GET", "/users/new/one", None).status_code == 404
    written = {"version": version, "written": 1}
    assert ask("PUT", "/users/new/one", {"features": {"age": 3, "city": "Oslo"}}).json() == written
    assert ask("GET", "/users/new/one", None).json() == {
        "version": version,
        "user_id": "new/one",
        "known": False,
        "live": True,
        "features": {"age": 3, "city": "Oslo", "country": None, "likes": None},
    }
    assert ask("DELETE", "/users/new/one", None).json() == written
    for method in ("GET", "DELETE"):
        assert ask(method, "/users/new/one", None).status_code == 404
