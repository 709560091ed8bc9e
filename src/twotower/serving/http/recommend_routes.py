"""The endpoints that recommend, with the framework and without."""

import itertools
from collections.abc import Sequence

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from twotower.config.errors import InputError
from twotower.serving.http import answers, error_examples, models
from twotower.serving.http.answers import respond, version_header
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.http_errors import HttpError, checked, from_input, mistake
from twotower.serving.http.ids import with_ids_of
from twotower.serving.http.middleware import DirectEndpoints
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

BATCH_SIZE = 64
VersionedRequest = tuple[Retriever, Request]
"""A request and the retriever that answers it: one retriever answers all requests of a body."""
Answer = orjson.Fragment | InputError
"""Items as JSON, or a mistake."""


def answer_batch(requests: Sequence[VersionedRequest]) -> list[Answer]:
    """Answer requests, those of one retriever together."""
    found: list[Answer] = []
    for retriever, group in itertools.groupby(requests, key=lambda each: each[0]):
        for result in retriever.answer([request for _, request in group]):
            found.append(result if isinstance(result, InputError) else orjson.Fragment(orjson.dumps(result)))
    return found


def parse_request(body: object) -> Request:
    """Return the request of a parsed body. Raises HttpError 422.

    Bodies with a user and k only, which are the most frequent, are read without pydantic.
    """
    if isinstance(body, dict) and "user_id" in body and body.keys() <= {"user_id", "k"}:
        user, k = body["user_id"], body.get("k", 10)
        if type(user) in (int, str) and type(k) is int and 1 <= k <= models.MAX_K:
            return Request(user, k=k)
    return Request(**vars(checked(models.RecommendRequest, body)))


def add_recommend(
    router: APIRouter, live: LiveService, batcher: Batcher[VersionedRequest, Answer], max_batch: int
) -> DirectEndpoints:
    """Add the endpoints that recommend; return them for calls without the framework."""

    async def results(requests: Sequence[Request]) -> tuple[str, list[Answer]]:
        retriever = live.retriever
        return retriever.version, await batcher.do(
            [(retriever, with_ids_of(retriever, each)) for each in requests]
        )

    async def answer_one(body: object) -> Response:
        version, (result,) = await results([parse_request(body)])
        if isinstance(result, InputError):
            raise from_input(result, version_header(version))
        return respond(version, items=result)

    async def answer_several(body: object) -> Response:
        given = body.get("requests") if isinstance(body, dict) else None
        if isinstance(given, list) and len(given) > max_batch:  # before any of them is validated
            raise HttpError(413, f"requests: expected at most {max_batch}, got {len(given)}", "requests")
        requests = [Request(**vars(each)) for each in checked(models.BatchRequest, body).requests]
        version, found = await results(requests)
        each_answer = [
            {"error": mistake(result)} if isinstance(result, InputError) else {"items": result}
            for result in found
        ]
        return respond(version, answers=each_answer)

    @router.post(
        "/recommend",
        response_model=answers.Items,
        responses=error_examples.RECOMMEND,
        summary="Recommend to one user",
    )
    async def recommend(body: models.RecommendRequest) -> Response:
        return await answer_one(body.model_dump(exclude_unset=True))

    @router.post(
        "/recommend/batch",
        response_model=answers.BatchResponse,
        responses=error_examples.RECOMMEND_BATCH,
        summary="Recommend to several users",
    )
    async def recommend_batch(body: models.BatchRequest) -> Response:
        return await answer_several(body.model_dump(exclude_unset=True))

    return {"/recommend": answer_one, "/recommend/batch": answer_several}
