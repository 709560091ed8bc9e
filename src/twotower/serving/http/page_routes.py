"""The page for people at `/`, its files and the page at /docs, and what it looks up beyond the endpoints.

These answer people, not programs: they may change with the page, so the OpenAPI page leaves them out.
No path of a request names a file that is not there: all are read once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import fastapi_offline
from fastapi import APIRouter, Depends, FastAPI, Query
from starlette.responses import Response

from twotower.bundle.notices import notices
from twotower.bundle.read import Bundle
from twotower.serving.browser import Browser, as_shown
from twotower.serving.bundle_differences import differences
from twotower.serving.http import models
from twotower.serving.http.answers import said
from twotower.serving.http.ids import id_of
from twotower.serving.http.keys import Keys
from twotower.serving.http.other_bundles import OtherBundles
from twotower.serving.live.live_service import LiveService
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


@dataclass(frozen=True)
class _Asked:
    """A request of the page: ids are text, and features and conditions are JSON."""

    user: str | None = None
    features: str | None = None
    history: Annotated[list[str] | None, Query(max_length=1000)] = None
    where: str | None = None
    k: Limit = 10
    exclude_seen: bool | None = None
    allow: Annotated[list[str] | None, Query(max_length=1000)] = None

    def of(self, bundle: Bundle) -> Request:
        """Return the request with ids as a bundle has them. Raises InputError or HttpError."""
        return Request(
            user_id=None if self.user is None else id_of(self.user, bundle.users, "user"),
            features=models.features_of(self.features),
            history=_items(bundle, self.history or []),
            where=models.where_of(self.where),
            k=self.k,
            exclude_seen=self.exclude_seen,
            allow=None if self.allow is None else _items(bundle, self.allow),
        )


Asked = Annotated[_Asked, Depends()]


def add_page(app: FastAPI, live: LiveService, keys: Keys) -> None:
    """Add the page, its files and the page at /docs, which need no key, and what the page asks."""
    files = APIRouter(include_in_schema=False)
    _add_files(files)
    app.include_router(files)
    router = APIRouter(include_in_schema=False, dependencies=[Depends(keys.check)])
    newest: Browser | None = None

    def browser() -> Browser:
        nonlocal newest
        now, retriever = newest, live.retriever
        if now is None or now.retriever is not retriever:
            now = newest = Browser(retriever)
        return now

    _add_lookups(router, browser)
    _add_recommend(router, browser)
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
        return said(now.retriever.version, **now.user(id_of(user_id, now.retriever.bundle.users, "user")))

    @router.get("/page/items")
    def items(query: Text = "", limit: Limit = 20) -> Response:
        now = browser()
        return said(now.retriever.version, items=now.items(query, limit))

    @router.get("/page/item")
    def item(item: str) -> Response:
        now = browser()
        return said(now.retriever.version, item=now.item(_items(now.retriever.bundle, [item])[0]))

    @router.get("/page/similar")
    def similar(item: str, k: Limit = 10) -> Response:
        now = browser()
        return said(now.retriever.version, items=now.similar(_items(now.retriever.bundle, [item])[0], k))

    @router.get("/page/facets")
    def facets() -> Response:
        now = browser()
        counts = {"num_items": now.retriever.num_items, "num_users": now.num_users}
        bundle = now.retriever.bundle
        return said(
            now.retriever.version,
            columns=now.facets,
            profile=now.profile,
            exclude_seen=bundle.manifest.exclude_seen,
            **notices(bundle.folder, bundle.manifest),
            **counts,
        )

    @router.get("/page/map")
    def catalogue_map() -> Response:
        now = browser()
        return said(now.retriever.version, **now.map())

    @router.get("/page/places")
    def places(items: SomeIds) -> Response:
        now = browser()
        return said(now.retriever.version, places=now.map_positions(_items(now.retriever.bundle, items)))


def _add_recommend(router: APIRouter, browser: Callable[[], Browser]) -> None:
    @router.get("/page/recommend")
    def recommend(asked: Asked) -> Response:
        now = browser()
        return said(now.retriever.version, items=now.recommend(asked.of(now.retriever.bundle)))


def _add_compare(router: APIRouter, live: LiveService) -> None:
    others = OtherBundles(live)

    @router.get("/page/bundles")
    def bundles() -> Response:
        return said(live.retriever.version, bundles=list(others.folders()), root=live.root.name)

    @router.get("/page/compare")
    def compare(asked: Asked, other: Text) -> Response:
        ours = live.retriever
        request = asked.of(ours.bundle)
        theirs = others.get(other)
        if theirs is None:
            return said(ours.version, opening=True)
        lists = {}
        for name, retriever, wanted in (
            ("ours", ours, request),
            ("theirs", theirs, asked.of(theirs.bundle)),
        ):
            found = retriever.answer_one(wanted)
            lists[name] = {"version": retriever.version, "items": [as_shown(each) for each in found]}
        return said(ours.version, differences=differences(ours.bundle, theirs.bundle), **lists)


def _items(bundle: Bundle, texts: list[str]) -> list[int | str]:
    return [id_of(text, bundle.items, "item") for text in texts]
