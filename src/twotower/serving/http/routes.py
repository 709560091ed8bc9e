"""The endpoints."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.responses import Response

from twotower.errors import InputError
from twotower.serving.changes import Change, Event, ItemPut, ItemRemoved
from twotower.serving.http import models
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.errors import HttpError, from_input, from_validation, mistake, response
from twotower.serving.http.gate import version_header
from twotower.serving.http.metrics import Metrics
from twotower.serving.http.path_ids import id_of
from twotower.serving.live import LiveService
from twotower.serving.recommendation import Recommendation
from twotower.serving.requests import Request

WHERE: TypeAdapter[dict[str, Any]] = TypeAdapter(models.Where)
BATCH_SIZE = 64
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": models.Problem, "description": text}
    for status, text in {
        400: "not JSON",
        401: "no key that this service knows",
        403: "the key may only read",
        404: "no such user or item",
        408: "the body came too slowly",
        413: "the body is too large",
        415: "not application/json",
        422: "a value is wrong; `key` says which",
        429: "too many requests",
        503: "too much is waiting, or the disk takes no writes",
    }.items()
}


@dataclass(frozen=True)
class Answered:
    """What one version says to some requests."""

    version: str
    results: Sequence[Sequence[Recommendation] | InputError]


def answerer(live: LiveService) -> Callable[[Sequence[Sequence[Request]]], list[Answered]]:
    """Return what answers several groups of requests by one retriever, in one go."""

    def answer(groups: Sequence[Sequence[Request]]) -> list[Answered]:
        retriever = live.retriever
        results = retriever.answer([request for group in groups for request in group])
        answered, start = [], 0
        for group in groups:
            answered.append(Answered(retriever.version, results[start : start + len(group)]))
            start += len(group)
        return answered

    return answer


def request_of(body: models.RecommendRequest) -> Request:
    """Return a checked body as the retriever takes it; the two have the same fields."""
    return Request(**body.__dict__)


def said(version: str, **content: Any) -> Response:
    """Return an answer that names its version, in the body and in the header."""
    return response({"version": version, **content}, headers=version_header(version))


def add_recommend(
    router: APIRouter, batcher: Batcher[Sequence[Request], Answered], max_batch: int
) -> dict[tuple[str, str], tuple[type[BaseModel], Callable[[Any], Awaitable[Response]]]]:
    """Add the endpoints that recommend, and return them for calls without the framework."""

    @router.post("/recommend", response_model=models.Items, summary="Recommend to one user")
    async def recommend(body: models.RecommendRequest) -> Response:
        answered = await batcher.do((request_of(body),))
        (result,) = answered.results
        if isinstance(result, InputError):
            raise from_input(result, version_header(answered.version))
        return said(answered.version, items=result)

    @router.post("/recommend/batch", response_model=models.Answers, summary="Recommend to several users")
    async def recommend_batch(body: models.BatchRequest) -> Response:
        size = len(body.requests)
        if size > max_batch:
            raise HttpError(413, f"requests: expected at most {max_batch}, got {size}", "requests")
        answered = await batcher.do([request_of(each) for each in body.requests], size)
        answers = [
            {"error": mistake(result)} if isinstance(result, InputError) else {"items": result}
            for result in answered.results
        ]
        return said(answered.version, answers=answers)

    return {
        ("POST", "/recommend"): (models.RecommendRequest, recommend),
        ("POST", "/recommend/batch"): (models.BatchRequest, recommend_batch),
    }


def add_catalogue(router: APIRouter, live: LiveService) -> None:
    """Add the endpoints of single items and users; each runs in a thread of the framework's pool."""

    def write(change: Change) -> Response:
        live.write([change])
        return said(live.retriever.version, written=1)

    @router.get("/items/{item_id:path}/similar", response_model=models.Items, summary="Similar items")
    def similar(
        item_id: str,
        k: models.K = 10,
        where: Annotated[str | None, Query(description="as in /recommend, as JSON")] = None,
    ) -> Response:
        retriever = live.retriever
        key = id_of(item_id, retriever.bundle.items.is_text, "item")
        found = retriever.similar(key, k, where=where_of(where))
        return said(retriever.version, items=found)

    @router.put("/items/{item_id:path}", response_model=models.Written, summary="Offer or change an item")
    def put_item(item_id: str, body: models.PutItemRequest) -> Response:
        key = id_of(item_id, live.retriever.bundle.items.is_text, "item")
        return write(ItemPut(key, body.features))

    @router.delete("/items/{item_id:path}", response_model=models.Written, summary="Offer an item no more")
    def delete_item(item_id: str) -> Response:
        return write(ItemRemoved(id_of(item_id, live.retriever.bundle.items.is_text, "item")))

    @router.post("/users/{user_id:path}/events", response_model=models.Written, summary="What a user chose")
    def add_event(user_id: str, body: models.EventRequest) -> Response:
        key = id_of(user_id, live.retriever.bundle.users.is_text, "user")
        return write(Event(key, body.item_id, int(time.time()) if body.time is None else body.time))


def add_operations(
    router: APIRouter, live: LiveService, metrics: Metrics, bundle_changed: Callable[[], None]
) -> None:
    """Add what those who run the service ask."""

    @router.post("/reload", response_model=models.Status, summary="Switch to another bundle")
    def reload(body: models.ReloadRequest) -> Response:
        version = live.reload(body.bundle)
        bundle_changed()
        return said(version, status="ready")

    @router.get("/healthz", response_model=models.Status, summary="Is the process alive?")
    async def healthz() -> Response:
        return said(live.retriever.version, status="alive")

    @router.get("/readyz", response_model=models.Status, summary="Does it answer requests?")
    async def readyz() -> Response:
        return said(live.retriever.version, status="ready")

    @router.get("/metrics", response_class=Response, summary="Figures for Prometheus")
    def figures() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def where_of(text: str | None) -> dict[str, Any]:
    """Return the conditions that a query holds as JSON text.

    Raises:
        HttpError: 422, it is not JSON, or holds no conditions.
    """
    if text is None:
        return {}
    try:
        return WHERE.validate_python(orjson.loads(text.encode("utf-8", "replace")), strict=True)
    except orjson.JSONDecodeError as error:
        raise HttpError(422, f"where: not JSON: {error!s:.300}", "where") from error
    except ValidationError as error:
        raise from_validation(error, "where") from error


def add_routes(
    app: FastAPI,
    live: LiveService,
    batcher: Batcher[Sequence[Request], Answered],
    metrics: Metrics,
    max_batch: int,
    bundle_changed: Callable[[], None],
) -> dict[tuple[str, str], tuple[type[BaseModel], Callable[[Any], Awaitable[Response]]]]:
    """Add all endpoints, and return those that may be called without the framework."""
    router = APIRouter(responses=PROBLEMS)
    direct = add_recommend(router, batcher, max_batch)
    add_catalogue(router, live)
    add_operations(router, live, metrics, bundle_changed)
    app.include_router(router)
    return direct
