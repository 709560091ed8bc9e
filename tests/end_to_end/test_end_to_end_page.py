"""The page in a browser without a window: what people see, by keyboard, without an error in its console."""

import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from twotower.serving.http.app import Settings, create_app
from twotower.serving.http.security import Keys
from twotower.serving.live import LiveService

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "bundle"))

import tiny_bundle

CHROMIUM = shutil.which("chromium")
KEY = "a-key-that-may-write"
WAIT = 5_000
"""Milliseconds for anything to appear."""

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the page needs playwright: pip install -e .[dev]"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        (folder / name).mkdir()
        tiny_bundle.write(folder / name / "bundle", history_items="tower")
    return folder


@pytest.fixture
def service(root: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve on a free port, in a thread, with the keys of the test's parameter."""
    live = LiveService(root, root / "first" / "bundle", None, lambda folder: folder / "bundle")
    application = create_app(live, Settings(keys=Keys(getattr(request, "param", []))))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until = time.monotonic() + 10
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page; whatever it says in its console fails the test, unless `page.expected` holds it."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(WAIT)
    opened = context.new_page()
    said: list[str] = []
    opened.expected = ""
    opened.on("console", lambda message: said.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    unexpected = [text for text in said if not opened.expected or opened.expected not in text]
    context.close()
    assert unexpected == []


def choose_user(page: Any, typed: str) -> None:
    """Choose the first user whose id begins so, by keyboard alone."""
    page.focus("#user")
    page.keyboard.type(typed)
    shown(page, "#user-list li").to_have_count(1)
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#user", "aria-activedescendant") == "user-list-0"
    page.keyboard.press("Enter")
    shown(page, "#recommendations .card").to_have_count(10)


def shown(page: Any, selector: str) -> Any:
    """Expect something of what a selector finds; waits for it, unlike an assertion."""
    return sync_api.expect(page.locator(selector))


def test_a_user_is_chosen_by_keyboard_and_filters_change_the_cards(page: Any, service: str) -> None:
    page.goto(service)
    choose_user(page, "user-03")
    shown(page, "#history li").to_have_count(9)
    shown(page, "#recommendations").to_contain_text("history")  # why
    page.check("#facets input[value=kids]")
    shown(page, "#recommend-status").to_contain_text("Tags is kids")
    page.fill("#k", "3")
    shown(page, "#recommendations .card").to_have_count(3)
    assert all("kids" in text for text in page.locator("#recommendations .card").all_inner_texts())
    page.fill("#facet-price-max", "-1")
    shown(page, "#recommendations .empty").to_contain_text("No item fits")
    page.click("#clear-filters")
    shown(page, "#recommendations .card").to_have_count(10)
    first = page.locator("#recommendations h3").nth(0).inner_text()
    page.locator("#recommendations .card").nth(0).get_by_text("Add to history").click()
    shown(page, "#history li").to_have_count(10)
    assert page.locator("#history li button").nth(0).inner_text() == first


def test_an_item_is_added_by_the_form_and_found(page: Any, service: str) -> None:
    page.goto(f"{service}/#items")
    page.click("#add button")
    shown(page, "#add-status").to_contain_text("needs an id")
    page.fill("#add-id", "new-1")
    page.fill("#add-column-title", "<b>RED</b> CLOCK")
    page.locator("#add-column-price").press_sequentially("2.5e")
    page.click("#add button")
    shown(page, "#add-status").to_contain_text("Price: expected a number")
    page.fill("#add-column-price", "2.5")
    page.fill("#add-column-tags", "home, kids")
    page.click("#add button")
    shown(page, "#add-found li").to_have_count(8)
    shown(page, "#add-status").to_contain_text("new-1 is in the catalogue")
    page.fill("#item", "red</b>")
    shown(page, "#item-list li").to_have_count(1)
    page.keyboard.press("Enter")
    shown(page, "#item-detail").to_contain_text("<b>RED</b> CLOCK")  # as text
    shown(page, "#item-detail").to_contain_text("home, kids")
    shown(page, "#bundle").to_contain_text("61 items")
    page.get_by_role("button", name="Remove").click()
    shown(page, "#item-detail").to_contain_text("was removed")
    shown(page, "#bundle").to_contain_text("60 items")


def test_the_map_and_another_bundle_are_shown_for_the_user(page: Any, service: str) -> None:
    page.goto(service)
    choose_user(page, "user-03")
    page.get_by_role("link", name="Map").click()
    shown(page, "#map-rows tr").to_have_count(19)
    page.focus("#map-canvas")
    page.keyboard.press("ArrowRight")
    shown(page, "#map-point").to_contain_text("In the history, 1 of 19")
    page.get_by_role("link", name="Compare").click()
    shown(page, "#theirs li").to_have_count(10)
    shown(page, "#compare-status").to_contain_text("10 of 10 items stand in both lists")


@pytest.mark.parametrize("service", [[f"write {KEY}"]], indirect=True)
def test_a_service_with_keys_asks_for_one(page: Any, service: str) -> None:
    page.expected = "401 (Unauthorized)"
    page.goto(service)
    shown(page, "#problem").to_contain_text("Authorization")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    shown(page, "#problem").to_be_hidden()
    choose_user(page, "user-03")
