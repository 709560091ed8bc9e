"""The endpoints that recommend, with the framework and without."""

import itertools
from collections.abc import Sequence

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from twotower.config.errors import InputError
from twotower.serving.http import answers, error_examples, models
from twotower.serving.http.access_control import version_header
from twotower.serving.http.answers import said
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.direct import Answer, Direct, Directs, VersionedRequest
from twotower.serving.http.http_errors import HttpError, checked, from_input, mistake
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

USUAL = frozenset({"user_id", "k"})
BATCH_SIZE = 64
K_PER_WEIGHT = 100


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


def add_recommend(
    router: APIRouter, live: LiveService, batcher: Batcher[VersionedRequest, Answer], max_batch: int
) -> Directs:
    """Add the endpoints that recommend, and return them for calls without the framework."""

    def several(parsed: object) -> list[Request]:
        given = parsed.get("requests") if isinstance(parsed, dict) else None
        if isinstance(given, list) and len(given) > max_batch:  # before any of them is looked at
            raise HttpError(413, f"requests: expected at most {max_batch}, got {len(given)}", "requests")
        return [_request(each) for each in checked(models.BatchRequest, parsed).requests]

    one, batch = Direct(live, batcher, asked, _told), Direct(live, batcher, several, _told_of_several)

    @router.post(
        "/recommend",
        response_model=answers.Items,
        responses=error_examples.RECOMMEND,
        summary="Recommend to one user",
    )
    async def recommend(body: models.RecommendRequest) -> Response:
        return await one.call([_request(body)])

    @router.post(
        "/recommend/batch",
        response_model=answers.BatchResponse,
        responses=error_examples.RECOMMEND_BATCH,
        summary="Recommend to several users",
    )
    async def recommend_batch(body: models.BatchRequest) -> Response:
        return await batch.call([_request(each) for each in body.requests])

    return {("POST", "/recommend"): one, ("POST", "/recommend/batch"): batch}
