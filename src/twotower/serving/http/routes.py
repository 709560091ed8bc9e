"""The endpoints, in groups, and those for operations."""

from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import Response

from twotower.bundle.notices import notices
from twotower.serving.http import answers, error_examples, models
from twotower.serving.http.answers import respond
from twotower.serving.http.api_keys import Keys
from twotower.serving.http.batcher import Batcher
from twotower.serving.http.entity_routes import add_items, add_users
from twotower.serving.http.metrics import Metrics
from twotower.serving.http.middleware import DirectEndpoints
from twotower.serving.http.recommend_routes import Answer, VersionedRequest, add_recommend
from twotower.serving.live.live_service import LiveService

RECOMMEND, ITEMS, USERS, OPERATE = "recommend", "items", "users", "operate"
TAGS = {
    RECOMMEND: "Who gets what.",
    ITEMS: "What is offered: seen, put in, changed, taken out; in force when the call returns.",
    USERS: "Who asks: events and profiles that last, in force when the call returns.",
    OPERATE: "For whoever runs the service.",
}
"""The groups of endpoints, as the page at /docs shows them."""


def _add_operations(guarded: APIRouter, anybody: APIRouter, live: LiveService, metrics: Metrics) -> None:
    @guarded.post(
        "/reload",
        response_model=answers.Status,
        responses=error_examples.RELOAD,
        summary="Switch to another bundle",
    )
    def reload(body: models.ReloadRequest) -> Response:
        return respond(live.reload(body.bundle), status="ready")

    @guarded.get(
        "/metrics",
        response_class=Response,
        responses=error_examples.FIGURES,
        summary="Figures for Prometheus",
    )
    def figures() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @anybody.get("/healthz", response_model=answers.Status, summary="Is the process alive?")
    async def healthz() -> Response:
        return respond(live.retriever.version, status="alive")

    @anybody.get(
        "/readyz",
        response_model=answers.Readiness,
        summary="Does it answer requests?",
    )
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
    recommending, items, users, guarded = (APIRouter(tags=[tag], dependencies=guard) for tag in TAGS)
    anybody = APIRouter(tags=[OPERATE])
    direct = add_recommend(recommending, live, batcher, max_batch)
    add_items(items, live)
    add_users(users, live)
    _add_operations(guarded, anybody, live, metrics)
    for router in (recommending, items, users, guarded, anybody):
        app.include_router(router)
    return direct
