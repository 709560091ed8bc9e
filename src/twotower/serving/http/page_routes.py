"""The page for people at `/`, its files and the page at /docs, and what it looks up beyond the endpoints.

These answer people, not programs: they may change with the page, so the OpenAPI page leaves them out.
No path of a request names a file that is not there: all are read once.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import fastapi_offline
from fastapi import APIRouter, FastAPI, Query
from starlette.responses import Response

from twotower.serving.browser import Browser, as_shown
from twotower.serving.http import models
from twotower.serving.http.answers import said
from twotower.serving.http.ids import id_of
from twotower.serving.http.models import where_of
from twotower.serving.http.other_bundles import OtherBundles
from twotower.serving.live.changes import Event
from twotower.serving.live.service import LiveService
from twotower.serving.requests import Request

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


SWAGGER = Path(fastapi_offline.__file__).parent / "static"
# Addresses are relative, for a service behind a proxy that adds a prefix.
PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>twotower: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = b"""SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null
});
"""


def _fixed_file(content: bytes, kind: str) -> Callable[[], Any]:
    async def read() -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return read


FOLDER = Path(__file__).parents[1] / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
Limit = Annotated[int, Query(ge=1, le=100)]
Text = Annotated[str, Query(max_length=200)]
SomeIds = Annotated[list[str], Query(min_length=1, max_length=1000)]


class _Chosen(models.Strict):
    user_id: str
    item_id: str


def add_page(app: FastAPI, live: LiveService) -> None:
    """Add the page, its files, what it asks, and the page at /docs."""
    router = APIRouter(include_in_schema=False)
    _add_files(router)
    newest: Browser | None = None

    def browser() -> Browser:
        nonlocal newest
        now, retriever = newest, live.retriever
        if now is None or now.retriever is not retriever:
            now = newest = Browser(retriever)
        return now

    _add_lookups(router, browser)
    _add_recommend(router, browser, live)
    _add_compare(router, live)
    app.include_router(router)


def _add_files(router: APIRouter) -> None:
    files = {f"/page/{path.name}": path for path in sorted(FOLDER.iterdir()) if path.suffix in KINDS}
    files["/"] = files.pop("/page/index.html")
    files |= {f"/docs/{name}": SWAGGER / name for name in ("swagger-ui-bundle.js", "swagger-ui.css")}
    for address, path in files.items():
        router.get(address)(_fixed_file(path.read_bytes(), KINDS[path.suffix]))
    router.get("/docs")(_fixed_file(PAGE, "text/html"))
    router.get("/docs/start.js")(_fixed_file(START, "text/javascript"))


def _add_lookups(router: APIRouter, browser: Callable[[], Browser]) -> None:
    @router.get("/page/users")
    def users(query: Text = "", limit: Limit = 20, any: bool = False) -> Response:
        now = browser()
        found = now.any_user() if any else now.users(query, limit)
        return said(now.retriever.version, users=found)

    @router.get("/page/users/{user_id:path}")
    def user(user_id: str) -> Response:
        now = browser()
        return said(now.retriever.version, **now.user(_user(now, user_id)))

    @router.get("/page/items")
    def items(query: Text = "", limit: Limit = 20) -> Response:
        now = browser()
        return said(now.retriever.version, items=now.items(query, limit))

    @router.get("/page/item")
    def item(item: str) -> Response:
        now = browser()
        return said(now.retriever.version, item=now.item(_items(now, [item])[0]))

    @router.get("/page/similar")
    def similar(item: str, k: Limit = 10) -> Response:
        now = browser()
        return said(now.retriever.version, items=now.similar(_items(now, [item])[0], k))

    @router.get("/page/facets")
    def facets() -> Response:
        now = browser()
        counts = {"num_items": now.retriever.num_items, "num_users": now.num_users}
        exclude_seen = now.retriever.bundle.manifest.exclude_seen
        return said(now.retriever.version, columns=now.facets, exclude_seen=exclude_seen, **counts)

    @router.get("/page/map")
    def catalogue_map() -> Response:
        now = browser()
        return said(now.retriever.version, **now.map())

    @router.get("/page/places")
    def places(items: SomeIds) -> Response:
        now = browser()
        return said(now.retriever.version, places=now.places(_items(now, items)))


def _add_recommend(router: APIRouter, browser: Callable[[], Browser], live: LiveService) -> None:
    @router.get("/page/recommend")
    def recommend(
        user: str,
        k: Limit = 10,
        where: str | None = None,
        exclude_seen: bool | None = None,
        allow: Annotated[list[str] | None, Query(max_length=1000)] = None,
    ) -> Response:
        now = browser()
        request = Request(
            user_id=_user(now, user),
            k=k,
            where=where_of(where),
            exclude_seen=exclude_seen,
            allow=None if allow is None else _items(now, allow),
        )
        return said(now.retriever.version, items=now.recommend(request))

    @router.post("/page/events")
    def add_event(body: _Chosen) -> Response:
        now = browser()
        user, (item,) = _user(now, body.user_id), _items(now, [body.item_id])
        live.write([Event(user, item, int(time.time()))])
        return said(live.retriever.version)


def _add_compare(router: APIRouter, live: LiveService) -> None:
    others = OtherBundles(live)

    @router.get("/page/bundles")
    def bundles() -> Response:
        return said(live.retriever.version, bundles=list(others.folders()))

    @router.get("/page/compare")
    def compare(
        user: str, other: Text, where: str | None = None, k: Limit = 10, exclude_seen: bool | None = None
    ) -> Response:
        ours = live.retriever
        conditions = where_of(where)
        theirs = others.get(other)
        if theirs is None:
            return said(ours.version, opening=True)
        lists = {}
        for name, retriever in (("ours", ours), ("theirs", theirs)):
            key = id_of(user, retriever.bundle.users, "user")
            found = retriever.recommend(key, k, where=conditions, exclude_seen=exclude_seen)
            lists[name] = {"version": retriever.version, "items": [as_shown(each) for each in found]}
        return said(ours.version, **lists)


def _user(browser: Browser, text: str) -> int | str:
    return id_of(text, browser.retriever.bundle.users, "user")


def _items(browser: Browser, texts: list[str]) -> list[int | str]:
    return [id_of(text, browser.retriever.bundle.items, "item") for text in texts]
