"""The page at `/`, its files, its requests, and the page at `/docs`.

The requests may change with the page, so they are not part of the OpenAPI description. Ids in them are text,
features and conditions are JSON. Files are read once.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import fastapi_offline
from fastapi import APIRouter, Depends, FastAPI, Query
from starlette.responses import Response

from twotower.bundle.notices import notices
from twotower.serving.browser import Browser, recommendation_entries
from twotower.serving.http.api_keys import Keys
from twotower.serving.http.models import read_query
from twotower.serving.http.routes import id_of, respond
from twotower.serving.live.live_service import LiveService
from twotower.serving.live_items import ItemId
from twotower.serving.requests import Request

# No external content and no inline script or style, so that values of the data are never executed.
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
PAGE_FOLDER = Path(__file__).parents[1] / "page"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
Limit = Annotated[int, Query(ge=1, le=100)]
Text = Annotated[str, Query(max_length=200)]
ItemIds = Annotated[Sequence[str], Query(max_length=1000)]


def add_page(app: FastAPI, live: LiveService, keys: Keys) -> None:
    """Add the page, its files and the page at `/docs`, which need no key, and the requests of the page."""
    files = APIRouter(include_in_schema=False)
    paths = {f"/page/{path.name}": path for path in PAGE_FOLDER.iterdir() if path.suffix in MEDIA_TYPES}
    paths |= {"/": paths.pop("/page/index.html"), "/docs": paths.pop("/page/docs.html")}
    paths |= {f"/docs/{name}": SWAGGER / name for name in ("swagger-ui-bundle.js", "swagger-ui.css")}
    for address, path in paths.items():
        files.get(address)(_file_route(path.read_bytes(), MEDIA_TYPES[path.suffix]))
    app.include_router(files)
    router = APIRouter(include_in_schema=False, dependencies=[Depends(keys.check)])
    _add_lookups(router, live)
    app.include_router(router)


def _file_route(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def read() -> Response:
        return Response(content, headers=HEADERS, media_type=media_type)

    return read


def _add_lookups(router: APIRouter, live: LiveService) -> None:
    def browser() -> Browser:
        return live.browser

    Now = Annotated[Browser, Depends(browser)]

    def item_id(now: Browser, text: str) -> ItemId:
        return id_of(text, now.retriever.bundle.items, "item")

    def answer(now: Browser, **content: Any) -> Response:
        return respond(now.retriever.version, **content)

    @router.get("/page/users")
    def users(now: Now, query: Text = "", limit: Limit = 20, any: bool = False) -> Response:
        return answer(now, users=now.random_user() if any else now.users(query, limit))

    @router.get("/page/users/{user_id:path}")
    def user(now: Now, user_id: str) -> Response:
        return answer(now, **now.user(id_of(user_id, now.retriever.bundle.users, "user")))

    @router.get("/page/items")
    def items(now: Now, query: Text = "", limit: Limit = 20) -> Response:
        return answer(now, items=now.items(query, limit))

    @router.get("/page/item")
    def item(now: Now, item: str) -> Response:
        return answer(now, item=now.item(item_id(now, item)))

    @router.get("/page/similar")
    def similar(now: Now, item: str, k: Limit = 10) -> Response:
        similar = now.retriever.similar(item_id(now, item), k)
        return answer(now, items=recommendation_entries(similar))

    @router.get("/page/recommend")
    def recommend(
        now: Now,
        user: str | None = None,
        features: str | None = None,
        history: ItemIds = (),
        where: str | None = None,
        k: Limit = 10,
        exclude_seen: bool | None = None,
        allow: ItemIds = (),
    ) -> Response:
        request = Request(
            user_id=None if user is None else id_of(user, now.retriever.bundle.users, "user"),
            features=read_query("features", features),
            history=[item_id(now, each) for each in history],
            where=read_query("where", where),
            k=k,
            exclude_seen=exclude_seen,
            allow=[item_id(now, each) for each in allow] or None,
        )
        return answer(now, items=now.recommend(request))

    @router.get("/page/facets")
    def facets(now: Now) -> Response:
        bundle = now.retriever.bundle
        return answer(
            now,
            exclude_seen=bundle.manifest.exclude_seen,
            **now.facets(),
            **notices(bundle.folder, bundle.manifest),
        )
