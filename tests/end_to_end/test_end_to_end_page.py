"""The page in a browser without a window: what people see, by keyboard, without an error in its console."""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import tiny_bundle
import uvicorn

from twotower.serving.http.api_keys import Keys
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.live_service import LiveService

KEY = "a-key-that-may-write"
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the page needs playwright: pip install -e .[dev]"
)
sync_api.expect.set_options(timeout=60_000)  # milliseconds: a busy machine draws the page late


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("numbers", "first", "second"):  # the newest is shown first
        (folder / name).mkdir()
        tiny_bundle.write(
            folder / name / "bundle",
            history_items="tower",
            text=name != "numbers",
            seed=2 if name == "second" else 1,
            profiles=True,
            held_out=222 if name == "second" else 0,
        )
    return folder


@pytest.fixture
def service(root: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with served(root, getattr(request, "param", [])) as address:
        yield address


@contextlib.contextmanager
def served(root: Path, keys: Sequence[str] = ()) -> Iterator[str]:
    """Serve on a free port, in a thread, with some keys."""
    live = LiveService(root, root / "first" / "bundle", None, lambda folder: folder / "bundle")
    application = create_app(live, ServiceConfig(bundle="run", console="quiet"), Keys(keys))
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


def choose_user(page: Any, typed: str, num_items: int = 10) -> None:
    """Choose the first user whose id begins so, by keyboard alone."""
    page.focus("#user")
    page.keyboard.type(typed)
    page.keyboard.press("ArrowDown")  # before there is an answer
    shown(page, "#user").to_have_attribute("aria-activedescendant", "user-list-0")
    shown(page, "#user-list li").to_have_count(1)
    page.keyboard.press("Enter")
    shown(page, "#recommend-status").to_contain_text(f"{num_items} items for user {typed}")
    shown(page, "#recommendations .card").to_have_count(num_items)


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


def answered(page: Any, path: str, act: Any) -> Any:
    """Act, then send the request that the page sends to this path again, and return its answer.

    The browser may drop the body of a response when the page loads anew, so it is not read there.
    """
    with page.expect_request(lambda request: path in request.url) as sent:
        act()
    return page.request.get(sent.value.url).json()


def names(page: Any) -> list[str]:
    return list(page.locator("#recommendations h3").all_inner_texts())


def test_the_page_opens_on_somebody_whom_a_reload_shows_again(page: Any, service: str) -> None:
    page.goto(service)
    shown(page, "#recommendations .card").to_have_count(10)
    user = page.input_value("#user")
    assert page.url == f"{service}/?user={user}"
    before = names(page)
    page.reload()
    shown(page, "#recommendations .card").to_have_count(10)
    assert (page.input_value("#user"), names(page)) == (user, before)


def test_the_address_has_the_user_and_the_filters(page: Any, service: str) -> None:
    page.goto(f"{service}/?user=user-03")
    shown(page, "#recommend-status").to_contain_text("10 items for user user-03.")
    page.check("#facets input[value=kids]")
    page.fill("#facet-price-max", "6")
    page.fill("#k", "3")
    page.uncheck("#exclude-seen")
    shown(page, "#recommend-status").to_contain_text("where Tags is kids, Price ≤ 6")
    shown(page, "#recommendations .card").to_have_count(3)
    sync_api.expect(page).to_have_url(re.compile("exclude_seen=false"))
    address, before = page.url, names(page)
    page.goto("about:blank")
    page.goto(address)
    shown(page, "#recommendations .card").to_have_count(3)
    assert names(page) == before
    shown(page, "#facets input[value=kids]").to_be_checked()
    shown(page, "#facet-price-max").to_have_value("6")
    shown(page, "#k").to_have_value("3")
    shown(page, "#exclude-seen").not_to_be_checked()
    page.click("#clear-filters")
    shown(page, "#recommendations .card").to_have_count(10)
    assert page.url == f"{service}/?user=user-03"


def test_the_browser_goes_back_to_who_asked_before(page: Any, service: str) -> None:
    page.goto(f"{service}/?user=user-03&k=4")
    shown(page, "#recommend-status").to_contain_text("4 items for user user-03.")
    choose_user(page, "user-05", 4)
    page.get_by_role("link", name="Items").click()
    assert page.url == f"{service}/?user=user-05&k=4#items"
    page.go_back()
    page.go_back()
    shown(page, "#recommend-status").to_contain_text("4 items for user user-03.")
    shown(page, "#user").to_have_value("user-03")
    page.go_forward()
    shown(page, "#recommend-status").to_contain_text("for user user-05.")
    assert page.url == f"{service}/?user=user-05&k=4"


def test_an_address_of_nobody_is_told_and_left(page: Any, service: str) -> None:
    page.expected = "404"
    page.goto(f"{service}/?user=nobody")
    shown(page, "#problem").to_contain_text("user 'nobody' is not among the 12 users")
    shown(page, "#recommendations .empty").to_be_visible()
    page.click("#any-user")
    shown(page, "#recommendations .card").to_have_count(10)
    shown(page, "#problem").to_be_hidden()


def test_what_was_added_to_the_history_is_undone(page: Any, service: str) -> None:
    page.goto(f"{service}/?user=user-03")
    shown(page, "#recommendations .card").to_have_count(10)
    before, address = names(page), page.url
    page.locator("#recommendations .card").nth(0).get_by_text("Add to history").click()
    shown(page, "#basket li").to_have_text([f"{before[0]} Undo"])
    shown(page, "#history-status").to_have_text("1 item added here; 9 items, newest first")
    shown(page, "#recommend-title").to_be_focused()
    assert "&history=item-" in page.url
    shown(page, "#recommendations h3").not_to_have_text(before)
    page.keyboard.press("Shift+Tab")  # over the filters
    answer = answered(page, "/page/recommend?", page.get_by_role("button", name="Undo:").click)
    assert [each["label"] for each in answer["items"]] == before
    shown(page, "#basket-box").to_be_hidden()
    shown(page, "#history li").to_have_count(9)
    page.wait_for_url(address)
    shown(page, "#recommendations h3").to_have_text(before)
    assert page.request.get(f"{service}/page/users/user-03").json()["num_history"] == 9


def test_a_new_visitor_has_a_profile_and_a_basket(page: Any, service: str) -> None:
    page.goto(f"{service}/?user=user-03")
    shown(page, "#recommendations .card").to_have_count(10)
    page.focus("#tab-user")
    page.keyboard.press("ArrowRight")
    shown(page, "#tab-visitor").to_be_focused()
    shown(page, "#tab-visitor").to_have_attribute("aria-selected", "true")
    shown(page, "#recommend-status").to_contain_text("10 items for the new visitor.")
    assert page.locator("#profile label").all_inner_texts() == ["Country", "Age 20 to 31", "Likes"]
    page.select_option("#profile-country", "FR")
    page.fill("#profile-age", "33")
    page.fill("#profile-likes", "tea, books")
    page.fill("#pick", "item-020")
    shown(page, "#pick-list li").to_have_count(1)
    page.keyboard.press("Enter")
    shown(page, "#basket li").to_have_count(1)
    shown(page, "#pick").to_have_value("")
    page.locator("#recommendations .card").nth(2).get_by_text("Add to basket").click()
    shown(page, "#history li").to_have_count(2)
    shown(page, "#recommendations").to_contain_text("in the basket")
    address = page.url
    answer = answered(page, "/page/recommend?", page.reload)
    shown(page, "#recommendations .card").to_have_count(10)
    assert page.url == address
    shown(page, "#profile-country").to_have_value("FR")
    shown(page, "#profile-likes").to_have_value("tea, books")
    features = {"country": "FR", "age": 33, "likes": ["tea", "books"]}
    asked = parse_qs(urlsplit(address).query)
    assert (json.loads(asked["features"][0]), asked["history"][0]) == (features, "item-020")
    body = {"features": features, "history": asked["history"]}
    expected = page.request.post(f"{service}/recommend", data=body).json()["items"]
    assert [each["item_id"] for each in answer["items"]] == [each["item_id"] for each in expected]
    page.get_by_role("button", name="Remove:").first.click()
    shown(page, "#basket li").to_have_count(1)
    page.fill("#profile-age", "")
    page.locator("#profile-age").press_sequentially("3e")
    shown(page, "#profile-fault").to_have_text("Expected a number.")
    page.click("#tab-user")
    shown(page, "#recommend-status").to_contain_text("10 items for user user-")
    shown(page, "#basket-box").to_be_hidden()


def test_an_address_of_another_bundle_asks_for_what_this_one_has(page: Any, service: str) -> None:
    page.goto(
        f"{service}/?features=%7B%22height%22%3A180%2C%22country%22%3A%22GB%22%7D&k=many&where=nonsense"
    )
    shown(page, "#recommend-status").to_have_text("10 items for the new visitor.")
    shown(page, "#profile-country").to_have_value("GB")
    shown(page, "#problem").to_be_hidden()
    assert page.url == f"{service}/?features=%7B%22country%22%3A%22GB%22%7D"


def test_the_page_fits_a_telephone(page: Any, service: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{service}/?features=%7B%7D&history=item-020")
    for view in ("Recommendations", "Items"):
        page.get_by_role("link", name=view).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


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


def test_a_change_keeps_the_values_that_have_no_field(page: Any, service: str) -> None:
    """As vectors and dates of Parquet; here a column is withheld from the page."""

    def withhold(route: Any) -> None:
        answer = route.fetch()
        content = answer.json()
        content["columns"] = [each for each in content["columns"] if each["name"] != "price"]
        route.fulfill(response=answer, json=content)

    page.route("**/page/facets", withhold)
    page.goto(f"{service}/#items")
    page.fill("#item", "item-009")
    shown(page, "#item-list li").to_have_count(1)
    page.keyboard.press("Enter")
    before = page.request.get(f"{service}/items/item-009").json()["features"]
    page.get_by_role("button", name="Change").click()
    shown(page, "#add-id").to_have_value("item-009")
    page.fill("#add-column-title", "GREEN LAMP")
    page.fill("#add-column-mixed", "")
    page.get_by_role("button", name="Save").click()
    shown(page, "#add-status").to_contain_text("item-009 is in the catalogue")
    after = page.request.get(f"{service}/items/item-009").json()["features"]
    assert after["price"] == before["price"]
    assert after["title"] == "GREEN LAMP"
    assert after.get("mixed") is None
    page.fill("#add-id", "new-9")  # of which the page has no other values
    page.get_by_role("button", name="Save").click()
    shown(page, "#add-status").to_contain_text("new-9 is in the catalogue")
    assert page.request.get(f"{service}/items/new-9").json()["features"].get("price") is None
    page.unroute_all(behavior="ignoreErrors")  # the page asks again and again


def test_a_change_keeps_values_that_a_field_shows_differently(page: Any, service: str) -> None:
    odd = {"tags": ["Sci-Fi, Fantasy"], "title": "two\nlines", "price": 2.5}
    answer = page.request.put(f"{service}/items/odd", data={"features": odd})
    assert answer.ok, answer.text()
    page.goto(f"{service}/#items")
    page.fill("#item", "odd")
    shown(page, "#item-list li").to_have_count(1)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Change").click()
    shown(page, "#add-id").to_have_value("odd")
    page.fill("#add-column-price", "3.5")
    page.get_by_role("button", name="Save").click()
    shown(page, "#add-status").to_contain_text("odd is in the catalogue")
    after = page.request.get(f"{service}/items/odd").json()["features"]
    assert after == odd | {"price": 3.5, "mixed": None}


def test_a_tag_that_is_a_number_stays_one(page: Any, service: str) -> None:
    put = page.request.put(f"{service}/items/tagged", data={"features": {"tags": [7, "home"]}})
    assert put.ok, put.text()
    page.goto(f"{service}/?user=user-03")
    shown(page, "#recommendations .card").to_have_count(10)
    page.check("#facets input[value='7']")
    shown(page, "#recommendations h3").to_have_text(["tagged"])
    page.get_by_role("link", name="Items").click()
    page.fill("#add-id", "new-7")
    page.fill("#add-column-tags", "7, kids")
    page.get_by_role("button", name="Save").click()
    shown(page, "#add-status").to_contain_text("new-7 is in the catalogue")
    assert page.request.get(f"{service}/items/new-7").json()["features"]["tags"] == [7, "kids"]


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


def test_a_step_back_shows_its_view_though_who_asks_was_known_only_after_it(page: Any, service: str) -> None:
    held: list[Any] = []
    page.route("**/page/facets", lambda route: held.append(route))
    page.goto(f"{service}/#recommend")
    page.get_by_role("link", name="Items").click()
    shown(page, "#items-title").to_be_focused()
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    page.wait_for_url(re.compile("user="))
    page.go_back()
    shown(page, "#recommend-title").to_be_focused()
    page.go_forward()
    shown(page, "#items-title").to_be_focused()


def test_the_page_goes_along_with_a_reload(page: Any, service: str) -> None:
    page.goto(service)
    shown(page, "#known-until").to_have_text("It knows its users up to 2020-09-12 08:43:17 UTC.")
    shown(page, "#warnings").to_be_hidden()
    page.focus("#user")
    page.keyboard.type("user-03")
    shown(page, "#user-list li").to_have_count(1)
    page.keyboard.press("Enter")
    shown(page, "#recommendations .card").to_have_count(10)
    answer = page.request.post(f"{service}/reload", data={"bundle": "second"})
    assert answer.ok
    page.fill("#k", "3")  # its answer names another version
    shown(page, "#version").to_contain_text("second-")
    shown(page, "#warnings li").to_contain_text("does not know 222 interactions of the log")
    shown(page, "#recommendations .card").to_have_count(3)
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


@pytest.mark.parametrize("service", [[f"write {KEY}"]], indirect=True)
def test_a_service_with_keys_asks_for_one(page: Any, service: str) -> None:
    page.expected = "401 (Unauthorized)"
    page.goto(service)
    shown(page, "#problem").to_contain_text("Authorization")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    shown(page, "#problem").to_be_hidden()
    choose_user(page, "user-03")
