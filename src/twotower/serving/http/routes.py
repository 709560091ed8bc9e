"""The endpoints, in groups. Endpoints of single items and users run in the framework's thread pool."""

import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Query
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twotower.bundle.notices import notices
from twotower.config.errors import InputError
from twotower.data.source_column import fits_64_bits
from twotower.data.vocabulary import Vocabulary
from twotower.serving.http import models
from twotower.serving.http.api_keys import Keys
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.http_errors import HttpError, from_input, response, validated
from twotower.serving.http.metrics import Metrics
from twotower.serving.http.middleware import DirectEndpoints, version_header
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.live_service import LiveService
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import Request, kind_of
from twotower.serving.retriever import Retriever

TAGS = {
    "recommend": "Recommendations for one or several users.",
    "items": "Items of the catalogue; changes are in effect when the call returns.",
    "users": "Events and profiles of users; changes are in effect when the call returns.",
    "operate": "For operations.",
}
"""The groups of endpoints, as the page at /docs shows them."""

ERRORS = {
    400: ("The body is not JSON.", "body", "not JSON: unexpected character: line 1 column 1 (char 0)"),
    401: ("A key is required.", "Authorization", "expected `Bearer <key>` with a key of this service"),
    403: ("The key may only read.", "Authorization", "this key may only read"),
    404: ("The user or item is unknown.", "item_id", "item 'A-1' is not in the catalogue of 60 items"),
    409: ("Another reload is in progress.", "reload", "another one is in progress; try again later"),
    413: ("The body or the batch is too large.", "body", "expected at most 1,000,000 bytes"),
    415: ("The body is not plain JSON.", "Content-Type", "expected application/json"),
    422: ("A value is wrong; `key` names it.", "k", "expected greater than or equal to 1, got 0"),
    503: ("Too many requests wait, or the disk is full.", None, "too many requests are waiting; try again"),
}
"""Status -> description, key and message of an example."""
BODY = (400, 401, 413, 415, 422)
WRITE = (401, 403, 422, 503)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of an endpoint, for its `responses`."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted(set(statuses)):
        description, key, text = ERRORS[status]
        example = {"error": {"message": f"{key}: {text}" if key else text, "key": key}}
        content = {"application/json": {"example": example}}
        found[status] = {"model": models.ErrorResponse, "description": description, "content": content}
    return found


def respond(version: str, **content: Any) -> Response:
    """Return an answer that names its version, in the body and in the header."""
    return response({"version": version, **content}, headers=version_header(version))


WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""The only way to write an integer: 007 does not name the item 7."""


def id_of(text: str, vocabulary: Vocabulary, what: str) -> ItemId:
    """Return the id in a path. Raises InputError: another type than the ids of the bundle."""
    if vocabulary.is_text and not text.strip():
        raise InputError(f"{what}_id: expected more than white space, got {text!r:.80}")
    key = read_id(text, vocabulary)
    if isinstance(key, str) and not vocabulary.is_text:
        raise InputError(f"{what}_id: {what} ids of this bundle are {kind_of(False)}, got {text!r:.80}")
    return key


def read_id(value: ItemId, vocabulary: Vocabulary) -> ItemId:
    """Return an id of a body; text becomes the integer that it writes if the ids are integers."""
    if not isinstance(value, str) or vocabulary.is_text or WHOLE.fullmatch(value) is None:
        return value
    number = int(value)
    return number if fits_64_bits(number) else value


def with_ids_of(retriever: Retriever, request: Request) -> Request:
    """Return a request with the ids of a bundle; see `read_id`."""
    users, items = retriever.bundle.users, retriever.bundle.items
    read: dict[str, Any] = {}
    if isinstance(request.user_id, str):
        read["user_id"] = read_id(request.user_id, users)
    if not items.is_text:
        for name in ("history", "allow", "deny"):
            if given := getattr(request, name):
                read[name] = [read_id(each, items) for each in given]
    return replace(request, **read) if read else request


BATCH_SIZE = 64
VersionedRequest = tuple[Retriever, Request]
"""A request and the retriever that answers it: one retriever answers all requests of a body."""
Answer = orjson.Fragment | InputError
"""Items as JSON, or an error."""


def answer_batch(requests: Sequence[VersionedRequest]) -> list[Answer]:
    """Answer requests; consecutive requests of one retriever are one batch."""
    found: list[Answer] = []
    for retriever, group in itertools.groupby(requests, key=lambda each: each[0]):
        for result in retriever.answer([request for _, request in group]):
            found.append(result if isinstance(result, InputError) else orjson.Fragment(orjson.dumps(result)))
    return found


def _add_recommend(
    router: APIRouter, live: LiveService, batcher: Batcher[VersionedRequest, Answer], max_batch: int
) -> DirectEndpoints:
    @router.post(
        "/recommend",
        response_model=models.Items,
        responses=errors(404, 503, *BODY),
        summary="Recommend to one user",
    )
    async def recommend(body: models.RecommendRequest) -> Response:
        retriever = live.retriever
        (result,) = await batcher.do([(retriever, with_ids_of(retriever, Request(**vars(body))))])
        if isinstance(result, InputError):
            raise from_input(result, version_header(retriever.version))
        return respond(retriever.version, items=result)

    @router.post(
        "/recommend/batch",
        response_model=models.BatchResponse,
        responses=errors(503, *BODY),
        summary="Recommend to several users",
    )
    async def recommend_batch(body: models.BatchRequest) -> Response:
        retriever = live.retriever
        requests = [with_ids_of(retriever, Request(**vars(each))) for each in body.requests]
        answers = [
            {"error": from_input(result).content} if isinstance(result, InputError) else {"items": result}
            for result in await batcher.do([(retriever, each) for each in requests])
        ]
        return respond(retriever.version, answers=answers)

    def read_batch(body: object) -> models.BatchRequest:
        given = body.get("requests") if isinstance(body, dict) else None
        if isinstance(given, list) and len(given) > max_batch:  # before any of them is validated
            raise HttpError(413, f"requests: expected at most {max_batch}, got {len(given)}", "requests")
        return validated(models.BatchRequest, body)

    return {
        "/recommend": lambda body: recommend(validated(models.RecommendRequest, body)),
        "/recommend/batch": lambda body: recommend_batch(read_batch(body)),
    }


def _write(live: LiveService, change: Change) -> Response:
    return respond(live.retriever.version, written=live.write(change))


def _add_items(router: APIRouter, live: LiveService) -> None:
    def item_key(text: str) -> ItemId:
        return id_of(text, live.retriever.bundle.items, "item")

    path, written, read_errors = "/items/{item_id:path}", models.WriteResponse, errors(401, 404, 422)

    @router.get(
        f"{path}/similar", response_model=models.Items, responses=read_errors, summary="Similar items"
    )
    def similar(
        request: HttpRequest,
        item_id: str,
        k: models.K = 10,
        where: Annotated[str | None, Query(description="as in /recommend, as JSON")] = None,
    ) -> Response:
        if not request.scope.get("raw_path", b"/similar").endswith(b"/similar"):
            return item(f"{item_id}/similar")  # the slash is %2F, so it belongs to the id
        retriever = live.retriever
        key = id_of(item_id, retriever.bundle.items, "item")
        found = retriever.similar(key, k, where=models.read_query("where", where))
        return respond(retriever.version, items=found)

    @router.get(path, response_model=models.Item, responses=read_errors, summary="Read an item")
    def item(item_id: str) -> Response:
        retriever = live.retriever
        return respond(retriever.version, **retriever.item(id_of(item_id, retriever.bundle.items, "item")))

    @router.put(
        path, response_model=written, responses=errors(*BODY, *WRITE), summary="Add or change an item"
    )
    def put_item(item_id: str, body: models.PutItemRequest) -> Response:
        return _write(live, ItemPut(item_key(item_id), body.features))

    @router.delete(path, response_model=written, responses=errors(404, *WRITE), summary="Remove an item")
    def delete_item(item_id: str) -> Response:
        return _write(live, ItemRemoved(item_key(item_id)))


def _add_users(router: APIRouter, live: LiveService) -> None:
    def user_key(text: str) -> UserId:
        return id_of(text, live.retriever.bundle.users, "user")

    path, written = "/users/{user_id:path}", models.WriteResponse

    @router.post(
        f"{path}/events",
        response_model=written,
        responses=errors(404, *BODY, *WRITE),
        summary="Store an interaction",
    )
    def add_event(user_id: str, body: models.EventRequest) -> Response:
        when = int(time.time()) if body.time is None else body.time
        item = read_id(body.item_id, live.retriever.bundle.items)
        return _write(live, EventAdded(user_key(user_id), item, when, body.event))

    @router.get(path, response_model=models.User, responses=errors(401, 404, 422), summary="Read a user")
    def user(user_id: str) -> Response:
        retriever = live.retriever
        return respond(retriever.version, **retriever.user(id_of(user_id, retriever.bundle.users, "user")))

    @router.put(path, response_model=written, responses=errors(*BODY, *WRITE), summary="Store a profile")
    def put_user(user_id: str, body: models.PutUserRequest) -> Response:
        return _write(live, UserPut(user_key(user_id), body.features))

    @router.delete(path, response_model=written, responses=errors(404, *WRITE), summary="Delete a profile")
    def forget_user(user_id: str) -> Response:
        return _write(live, UserForgotten(user_key(user_id)))


def _add_operations(guarded: APIRouter, open_routes: APIRouter, live: LiveService, metrics: Metrics) -> None:
    @guarded.post(
        "/reload",
        response_model=models.Status,
        responses=errors(403, 409, *BODY),
        summary="Switch to another bundle",
    )
    def reload(body: models.ReloadRequest) -> Response:
        return respond(live.reload(body.bundle), status="ready")

    @guarded.get("/metrics", response_class=Response, responses=errors(401), summary="Metrics for Prometheus")
    def read_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @open_routes.get("/healthz", response_model=models.Status, summary="Whether the process is alive")
    async def healthz() -> Response:
        return respond(live.retriever.version, status="alive")

    @open_routes.get("/readyz", response_model=models.Readiness, summary="Whether it answers requests")
    async def readyz() -> Response:
        now = live.retriever
        return respond(now.version, status="ready", **notices(now.bundle.folder, now.bundle.manifest))


def add_routes(
    app: FastAPI,
    live: LiveService,
    batcher: Batcher[VersionedRequest, Answer],
    metrics: Metrics,
    max_batch: int,
    keys: Keys,
) -> DirectEndpoints:
    """Add all endpoints; return those that `JsonBodies` calls without the framework."""
    guard = [Depends(keys.check)]
    recommend, items, users, operate = (APIRouter(tags=[tag], dependencies=guard) for tag in TAGS)
    open_routes = APIRouter(tags=["operate"])
    direct = _add_recommend(recommend, live, batcher, max_batch)
    _add_items(items, live)
    _add_users(users, live)
    _add_operations(operate, open_routes, live, metrics)
    for router in (recommend, items, users, operate, open_routes):
        app.include_router(router)
    return direct
