"""The page in a browser without a window: what people see, by keyboard, without an error in its console."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from twotower.serving.http.security import Keys
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.service import LiveService

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "bundle"))

import tiny_bundle

KEY = "a-key-that-may-write"
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the page needs playwright: pip install -e .[dev]"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("numbers", "first", "second"):  # the newest is shown first
        (folder / name).mkdir()
        tiny_bundle.write(folder / name / "bundle", history_items="tower", text=name != "numbers")
    return folder


@pytest.fixture
def service(root: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve on a free port, in a thread, with the keys of the test's parameter."""
    live = LiveService(root, root / "first" / "bundle", None, lambda folder: folder / "bundle")
    application = create_app(
        live, ServiceConfig(bundle="run", console="quiet"), Keys(getattr(request, "param", []))
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until = time.monotonic() + 600
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(600)
        assert not thread.is_alive()


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
    page.fill("#facet-price-min", "2")
    shown(page, "#facet-price-fault").to_have_text("The least is above the most.")
    page.fill("#facet-price-min", "")
    page.locator("#facet-price-min").press_sequentially("5e")
    shown(page, "#facet-price-fault").to_have_text("Expected a number.")
    shown(page, "#facet-price-min").to_have_attribute("aria-invalid", "true")
    shown(page, "#problem").to_be_hidden()
    page.fill("#k", "500")
    shown(page, "#k").to_have_value("100")
    page.click("#clear-filters")
    shown(page, "#recommendations .card").to_have_count(10)
    shown(page, "#facet-price-fault").to_be_empty()
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
    page.get_by_role("link", name="Map").click()
    shown(page, "#map-status").to_contain_text("All 61 items")


def test_an_item_is_removed_only_by_who_says_so_twice(page: Any, service: str) -> None:
    page.goto(f"{service}/#items")
    page.fill("#item", "item-009")
    shown(page, "#item-list li").to_have_count(1)
    page.keyboard.press("Enter")
    shown(page, "#item-detail h3:first-child").to_be_focused()
    for _ in range(2):  # Tab goes over Change
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    shown(page, "#remove").to_be_visible()
    page.keyboard.press("Enter")  # the button that has the focus keeps it
    shown(page, "#remove").to_be_hidden()
    shown(page, "#bundle").to_contain_text("60 items")
    page.get_by_role("button", name="Remove …").click()
    page.get_by_role("button", name="Remove it").click()
    shown(page, "#item-detail").to_contain_text("Not offered")
    shown(page, "#item-detail h3").to_be_focused()
    shown(page, "#bundle").to_contain_text("59 items")
    page.get_by_role("button", name="Offer again").click()
    shown(page, "#add-id").to_have_value("item-009")
    page.keyboard.press("Enter")
    shown(page, "#bundle").to_contain_text("60 items")
    shown(page, "#item-detail").not_to_contain_text("Not offered")


def test_views_have_titles_and_addresses_and_take_the_focus(page: Any, service: str) -> None:
    page.goto(f"{service}/#nonsense")
    shown(page, "nav a[aria-current=page]").to_have_text("Recommendations")
    sync_api.expect(page).to_have_title("Recommendations · twotower")
    page.get_by_role("link", name="Items").click()
    sync_api.expect(page).to_have_title("Items · twotower")
    shown(page, "#items-title").to_be_focused()
    page.fill("#item", "no such item")
    shown(page, "#item-list + [role=status]").to_have_text("Nothing found")
    page.go_back()
    shown(page, "#recommend-title").to_be_focused()


def test_the_page_goes_along_with_a_reload(page: Any, service: str) -> None:
    page.goto(f"{service}/#compare")
    page.focus("#user")
    page.keyboard.type("user-03")
    shown(page, "#user-list li").to_have_count(1)
    page.keyboard.press("Enter")
    shown(page, "#theirs li").to_have_count(10)
    shown(page, "#other option").to_have_text(["second", "numbers"])
    answer = page.request.post(f"{service}/reload", data={"bundle": "second"})
    assert answer.ok
    page.expected = "422"  # what is chosen to compare with is served now
    page.select_option("#other", "second")
    page.dispatch_event("#other", "change")
    shown(page, "#version").to_contain_text("second-")
    shown(page, "#other option").to_have_text(["first", "numbers"])
    page.select_option("#other", "first")
    shown(page, "#theirs-version").to_contain_text("first-")
    shown(page, "#ours-version").to_contain_text("second-")
    shown(page, "#problem").to_be_hidden()


def test_ids_that_a_browser_would_round_stay_whole(page: Any, service: str) -> None:
    big = 2**53 + 1
    assert page.request.post(f"{service}/reload", data={"bundle": "numbers"}).ok
    assert page.request.put(f"{service}/items/{big}", data={"features": {"title": "BIG CUP", "tags": []}}).ok
    assert page.request.post(f"{service}/users/{big}/events", data={"item_id": 1001}).ok
    page.goto(service)
    page.focus("#user")
    page.keyboard.type(str(big)[:6])
    shown(page, "#user-list li").to_have_text([f"{big}1 item"])
    page.keyboard.press("Enter")
    shown(page, "#recommend-status").to_contain_text(f"for user {big}")
    page.fill("#k", "100")
    item = page.locator("#recommendations .card").filter(has_text="BIG CUP")
    item.get_by_text("Add to history").click()
    shown(page, "#history li:first-child").to_contain_text("BIG CUP")
    page.locator("#history li button").first.click()
    shown(page, "#item-detail dd").to_contain_text([str(big)])


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
