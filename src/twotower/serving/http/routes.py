"""The endpoints."""

import itertools
import re
import time
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, FastAPI, Query, Security
from fastapi.security import HTTPBearer
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from twotower.config.errors import InputError
from twotower.data.column import fits_64_bits
from twotower.data.vocabulary import Vocabulary
from twotower.serving.http import answers, models
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.direct import Answer, Direct, Directs, VersionedRequest
from twotower.serving.http.errors import HttpError, checked, from_details, from_input, mistake, response
from twotower.serving.http.gate import version_header
from twotower.serving.http.metrics import Metrics
from twotower.serving.live.changes import Change, Event, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.service import LiveService
from twotower.serving.live_items import ItemId
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""The one way to write a whole number, so that 7 and 007 are not the same item under two names."""


def id_of(text: str, vocabulary: Vocabulary, what: str) -> ItemId:
    """Return the id that a part of a path means. Raises InputError: not as the bundle's ids are written."""
    if vocabulary.is_text:
        if not text.strip():
            raise InputError(f"{what}_id: expected more than white space, got {text!r:.80}")
        return text
    if WHOLE.fullmatch(text) is None or not fits_64_bits(int(text)):
        raise InputError(
            f"{what}_id: {what} ids of this bundle are whole numbers of 64 bits, got {text!r:.80}"
        )
    return int(text)


WHERE: TypeAdapter[dict[str, Any]] = TypeAdapter(models.Where)

USUAL = frozenset({"user_id", "k"})
BATCH_SIZE = 64
K_PER_WEIGHT = 100
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.Problem, "description": text}
    for status, text in {
        400: "not JSON",
        401: "no key that this service knows",
        403: "the key may only read",
        404: "no such user or item",
        408: "the body came too slowly",
        409: "another reload is under way",
        413: "the body is too large",
        415: "not application/json, or compressed",
        422: "a value is wrong; `key` says which",
        429: "too many requests",
        503: "too much is waiting, or the disk takes no writes",
    }.items()
}


def answer(asked: Sequence[VersionedRequest]) -> list[Answer]:
    """Answer several requests, those of one version in one go, and write the answers down."""
    written: list[Answer] = []
    for retriever, group in itertools.groupby(asked, key=lambda each: each[0]):
        for result in retriever.answer([request for _, request in group]):
            found = isinstance(result, InputError)
            written.append(result if found else orjson.Fragment(orjson.dumps(result)))
    return written


def weight(asked: VersionedRequest) -> int:
    """Return how much of a batch a request is: finding many items takes longer than embedding a user."""
    return 1 + asked[1].k // K_PER_WEIGHT


def said(version: str, **content: Any) -> Response:
    """Return an answer that names its version, in the body and in the header."""
    return response({"version": version, **content}, headers=version_header(version))


def asked(parsed: object) -> list[Request]:
    """Return the request that a body is. Raises HttpError: 422.

    What most bodies are is seen at a glance; everything else is for pydantic, and so are all mistakes.
    """
    if isinstance(parsed, dict) and parsed.keys() <= USUAL and parsed:
        user, k = parsed.get("user_id", ""), parsed.get("k", 10)
        if type(user) in (int, str) and type(k) is int and 1 <= k <= models.MAX_K and "user_id" in parsed:
            return [Request(user, k=k)]
    return [_request(checked(models.RecommendRequest, parsed))]


def _request(body: models.RecommendRequest) -> Request:
    return Request(**vars(body))


def _told(retriever: Retriever, results: Sequence[Answer]) -> Response:
    (result,) = results
    if isinstance(result, InputError):
        raise from_input(result, version_header(retriever.version))
    return said(retriever.version, items=result)


def _told_of_several(retriever: Retriever, results: Sequence[Answer]) -> Response:
    each_answer = [
        {"error": mistake(result)} if isinstance(result, InputError) else {"items": result}
        for result in results
    ]
    return said(retriever.version, answers=each_answer)


def _add_recommend(
    router: APIRouter, live: LiveService, batcher: Batcher[VersionedRequest, Answer], max_batch: int
) -> Directs:
    """Add the endpoints that recommend, and return them for calls without the framework."""

    def several(parsed: object) -> list[Request]:
        given = parsed.get("requests") if isinstance(parsed, dict) else None
        if isinstance(given, list) and len(given) > max_batch:  # before any of them is looked at
            raise HttpError(413, f"requests: expected at most {max_batch}, got {len(given)}", "requests")
        return [_request(each) for each in checked(models.BatchRequest, parsed).requests]

    one, batch = Direct(live, batcher, asked, _told), Direct(live, batcher, several, _told_of_several)

    @router.post("/recommend", response_model=answers.Items, summary="Recommend to one user")
    async def recommend(body: models.RecommendRequest) -> Response:
        return await one.call([_request(body)])

    @router.post("/recommend/batch", response_model=answers.Answers, summary="Recommend to several users")
    async def recommend_batch(body: models.BatchRequest) -> Response:
        return await batch.call([_request(each) for each in body.requests])

    return {("POST", "/recommend"): one, ("POST", "/recommend/batch"): batch}


def _write(live: LiveService, change: Change) -> Response:
    return said(live.retriever.version, written=live.write([change]))


def _add_items(router: APIRouter, live: LiveService) -> None:
    """Add the endpoints of single items; each runs in a thread of the framework's pool."""

    @router.get("/items/{item_id:path}/similar", response_model=answers.Items, summary="Similar items")
    def similar(
        item_id: str,
        k: models.K = 10,
        where: Annotated[str | None, Query(description="as in /recommend, as JSON")] = None,
    ) -> Response:
        retriever = live.retriever
        key = id_of(item_id, retriever.bundle.items, "item")
        found = retriever.similar(key, k, where=where_of(where))
        return said(retriever.version, items=found)

    @router.put("/items/{item_id:path}", response_model=answers.Written, summary="Offer or change an item")
    def put_item(item_id: str, body: models.PutItemRequest) -> Response:
        key = id_of(item_id, live.retriever.bundle.items, "item")
        return _write(live, ItemPut(key, body.features))

    @router.delete("/items/{item_id:path}", response_model=answers.Written, summary="Offer an item no more")
    def delete_item(item_id: str) -> Response:
        return _write(live, ItemRemoved(id_of(item_id, live.retriever.bundle.items, "item")))


def _add_users(router: APIRouter, live: LiveService) -> None:
    """Add the endpoints of single users; each runs in a thread of the framework's pool."""

    def key_of(user_id: str) -> ItemId:
        return id_of(user_id, live.retriever.bundle.users, "user")

    @router.post("/users/{user_id:path}/events", response_model=answers.Written, summary="What a user chose")
    def add_event(user_id: str, body: models.EventRequest) -> Response:
        when = int(time.time()) if body.time is None else body.time
        return _write(live, Event(key_of(user_id), body.item_id, when, body.event))

    @router.get("/users/{user_id:path}", response_model=answers.User, summary="What is known of a user")
    def user(user_id: str) -> Response:
        retriever = live.retriever
        return said(retriever.version, **retriever.user(id_of(user_id, retriever.bundle.users, "user")))

    @router.put("/users/{user_id:path}", response_model=answers.Written, summary="Keep a user's profile")
    def put_user(user_id: str, body: models.PutUserRequest) -> Response:
        return _write(live, UserPut(key_of(user_id), body.features))

    @router.delete("/users/{user_id:path}", response_model=answers.Written, summary="Forget a user's profile")
    def forget_user(user_id: str) -> Response:
        return _write(live, UserForgotten(key_of(user_id)))


def _add_operations(guarded: APIRouter, anybody: APIRouter, live: LiveService, metrics: Metrics) -> None:
    @guarded.post("/reload", response_model=answers.Status, summary="Switch to another bundle")
    def reload(body: models.ReloadRequest) -> Response:
        return said(live.reload(body.bundle), status="ready")

    @guarded.get("/metrics", response_class=Response, summary="Figures for Prometheus")
    def figures() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @anybody.get("/healthz", response_model=answers.Status, summary="Is the process alive?")
    async def healthz() -> Response:
        return said(live.retriever.version, status="alive")

    @anybody.get("/readyz", response_model=answers.Status, summary="Does it answer requests?")
    async def readyz() -> Response:
        if not live.is_ready():
            raise HttpError(503, "a worker is being started; ask again", headers={"Retry-After": "1"})
        return said(live.retriever.version, status="ready")


def where_of(text: str | None) -> dict[str, Any]:
    """Return the conditions that a query holds as JSON text. Raises HttpError: 422, it holds none."""
    if text is None:
        return {}
    try:
        return WHERE.validate_python(orjson.loads(text.encode("utf-8", "replace")), strict=True)
    except orjson.JSONDecodeError as error:
        raise HttpError(422, f"where: not JSON: {error!s:.300}", "where") from error
    except ValidationError as error:
        raise from_details(error.errors(), "where") from error


def add_routes(
    app: FastAPI,
    live: LiveService,
    batcher: Batcher[VersionedRequest, Answer],
    metrics: Metrics,
    max_batch: int,
) -> Directs:
    """Add all endpoints, and return those that may be called without the framework."""
    anybody = APIRouter(responses=PROBLEMS)
    # The gate looks at keys; this tells the OpenAPI page that there may be some.
    guarded = APIRouter(responses=PROBLEMS, dependencies=[Security(HTTPBearer(auto_error=False))])
    direct = _add_recommend(guarded, live, batcher, max_batch)
    _add_items(guarded, live)
    _add_users(guarded, live)
    _add_operations(guarded, anybody, live, metrics)
    app.include_router(guarded)
    app.include_router(anybody)
    return direct
