"""The page for people at `/`, and what it looks up beyond the endpoints for programs.

These answer people, not programs: they may change with the page, so the OpenAPI page leaves them out.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query
from starlette.responses import Response

from twotower.bundle.layout import MANIFEST
from twotower.errors import InputError
from twotower.serving.browse import Browser
from twotower.serving.http import models
from twotower.serving.http.path_ids import id_of
from twotower.serving.http.routes import said, where_of
from twotower.serving.live import LiveService
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

FOLDER = Path(__file__).parents[1] / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Nothing from elsewhere and no script or style within the text, so that no value of the data can run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
MOST_OTHERS = 2
"""Bundles held open to compare with."""

Limit = Annotated[int, Query(ge=1, le=100)]
Text = Annotated[str, Query(max_length=200)]
SomeIds = Annotated[list[str], Query(min_length=1, max_length=1000)]


class Newest:
    """What was made for the last few keys; a key asked for by several threads at once is made once.

    Args:
        most: kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` gave for a key."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            self._made.move_to_end(key)
            while len(self._made) > self._most:
                self._made.popitem(last=False)
            return self._made[key]


def add_page(app: FastAPI, live: LiveService) -> None:
    """Add the page, its files, and what it asks."""
    router = APIRouter(include_in_schema=False)
    _add_files(router)
    browsers = Newest(1)

    def browser() -> Browser:
        retriever = live.retriever
        found: Browser = browsers.get(id(retriever), lambda: Browser(retriever))
        return found

    _add_users(router, browser)
    _add_items(router, browser)
    _add_compare(router, live)
    app.include_router(router)


def _add_files(router: APIRouter) -> None:
    """Add the files of the page: read once, and no path of a request names one that is not there."""
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in KINDS:
            address = "/" if path.name == "index.html" else f"/page/{path.name}"
            router.get(address)(_file(path))


def _file(path: Path) -> Callable[[], Any]:
    content, kind = path.read_bytes(), KINDS[path.suffix]

    async def read() -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return read


def _add_users(router: APIRouter, browser: Callable[[], Browser]) -> None:
    @router.get("/page/users")
    def users(query: Text = "", limit: Limit = 20, any: bool = False) -> Response:
        now = browser()
        found = now.any_user() if any else now.users(query, limit)
        return said(now.retriever.version, users=found)

    @router.get("/page/users/{user_id:path}")
    def user(user_id: str) -> Response:
        now = browser()
        return said(now.retriever.version, **now.user(_user(now, user_id)))

    @router.get("/page/why")
    def why(user: str, items: SomeIds) -> Response:
        now = browser()
        return said(now.retriever.version, items=now.why(_user(now, user), _items(now, items)))


def _add_items(router: APIRouter, browser: Callable[[], Browser]) -> None:
    @router.get("/page/items")
    def items(query: Text = "", limit: Limit = 20) -> Response:
        now = browser()
        return said(now.retriever.version, items=now.items(query, limit))

    @router.get("/page/item")
    def item(item: str) -> Response:
        now = browser()
        return said(now.retriever.version, item=now.item(_items(now, [item])[0]))

    @router.get("/page/facets")
    def facets() -> Response:
        now = browser()
        retriever = now.retriever
        counts = {"num_items": retriever.num_items, "num_users": len(retriever.user_ids)}
        return said(retriever.version, columns=now.facets, **counts)

    @router.get("/page/map")
    def catalogue_map() -> Response:
        now = browser()
        return said(now.retriever.version, **now.map)

    @router.get("/page/places")
    def places(items: SomeIds) -> Response:
        now = browser()
        return said(now.retriever.version, places=now.places(_items(now, items)))


def _add_compare(router: APIRouter, live: LiveService) -> None:
    others = Newest(MOST_OTHERS)

    @router.get("/page/bundles")
    def bundles() -> Response:
        return said(live.retriever.version, bundles=list(_others(live)))

    @router.get("/page/compare")
    def compare(
        user: str, other: Text, where: str | None = None, k: models.K = 10, exclude_seen: bool = True
    ) -> Response:
        ours = live.retriever
        folder = _others(live).get(other)
        if folder is None:
            raise InputError(f"other: {other!r:.80} is no other bundle beside the one that is served")
        theirs: Retriever = others.get(folder, lambda: Retriever.open(folder))
        conditions = where_of(where)
        lists = {}
        for name, retriever in (("ours", ours), ("theirs", theirs)):
            key = id_of(user, retriever.bundle.users.is_text, "user")
            request = Request(user_id=key, k=k, where=conditions, exclude_seen=exclude_seen)
            (found,) = retriever.answer([request])
            if isinstance(found, Exception):
                raise found
            lists[name] = {"version": retriever.version, "items": found}
        return said(ours.version, **lists)


def _others(live: LiveService) -> dict[str, Path]:
    """Return the bundles beside the one in use by the name of their run: an export where there is one."""
    ours = live.retriever.bundle.folder.resolve()
    found = {}
    for folder in sorted(live.root.iterdir(), reverse=True):
        inside = [folder / "exported", folder / "bundle", folder]
        bundle = next((path for path in inside if (path / MANIFEST).is_file()), None)
        if bundle is not None and ours not in inside and ours != folder:
            found[folder.name] = bundle
    return found


def _user(browser: Browser, text: str) -> int | str:
    return id_of(text, browser.retriever.bundle.users.is_text, "user")


def _items(browser: Browser, texts: list[str]) -> list[int | str]:
    return [id_of(text, browser.retriever.bundle.items.is_text, "item") for text in texts]
