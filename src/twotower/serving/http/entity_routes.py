"""The endpoints of single items and users; each runs in a thread of the framework's pool."""

import time
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from twotower.serving.http import answers, error_examples, models
from twotower.serving.http.answers import respond
from twotower.serving.http.ids import id_of, read_id
from twotower.serving.http.models import where_of
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.live_service import LiveService
from twotower.serving.live_items import ItemId


def _write(live: LiveService, change: Change) -> Response:
    return respond(live.retriever.version, written=live.write([change]))


def add_items(router: APIRouter, live: LiveService) -> None:
    """Add the endpoints of single items."""

    @router.get(
        "/items/{item_id:path}/similar",
        response_model=answers.Items,
        responses=error_examples.SIMILAR,
        summary="Similar items",
    )
    def similar(
        item_id: str,
        k: models.K = 10,
        where: Annotated[str | None, Query(description="as in /recommend, as JSON")] = None,
    ) -> Response:
        retriever = live.retriever
        key = id_of(item_id, retriever.bundle.items, "item")
        found = retriever.similar(key, k, where=where_of(where))
        return respond(retriever.version, items=found)

    @router.get(
        "/items/{item_id:path}",
        response_model=answers.Item,
        responses=error_examples.GET_ITEM,
        summary="What is known of an item",
    )
    def item(item_id: str) -> Response:
        retriever = live.retriever
        return respond(retriever.version, **retriever.item(id_of(item_id, retriever.bundle.items, "item")))

    @router.put(
        "/items/{item_id:path}",
        response_model=answers.WriteResponse,
        responses=error_examples.PUT_ITEM,
        summary="Offer or change an item",
    )
    def put_item(item_id: str, body: models.PutItemRequest) -> Response:
        key = id_of(item_id, live.retriever.bundle.items, "item")
        return _write(live, ItemPut(key, body.features))

    @router.delete(
        "/items/{item_id:path}",
        response_model=answers.WriteResponse,
        responses=error_examples.DELETE_ITEM,
        summary="Offer an item no more",
    )
    def delete_item(item_id: str) -> Response:
        return _write(live, ItemRemoved(id_of(item_id, live.retriever.bundle.items, "item")))


def add_users(router: APIRouter, live: LiveService) -> None:
    """Add the endpoints of single users."""

    def override_key(user_id: str) -> ItemId:
        return id_of(user_id, live.retriever.bundle.users, "user")

    @router.post(
        "/users/{user_id:path}/events",
        response_model=answers.WriteResponse,
        responses=error_examples.ADD_EVENT,
        summary="What a user chose",
    )
    def add_event(user_id: str, body: models.EventRequest) -> Response:
        when = int(time.time()) if body.time is None else body.time
        item = read_id(body.item_id, live.retriever.bundle.items)
        return _write(live, EventAdded(override_key(user_id), item, when, body.event))

    @router.get(
        "/users/{user_id:path}",
        response_model=answers.User,
        responses=error_examples.GET_USER,
        summary="What is known of a user",
    )
    def user(user_id: str) -> Response:
        retriever = live.retriever
        return respond(retriever.version, **retriever.user(id_of(user_id, retriever.bundle.users, "user")))

    @router.put(
        "/users/{user_id:path}",
        response_model=answers.WriteResponse,
        responses=error_examples.PUT_USER,
        summary="Keep a user's profile",
    )
    def put_user(user_id: str, body: models.PutUserRequest) -> Response:
        return _write(live, UserPut(override_key(user_id), body.features))

    @router.delete(
        "/users/{user_id:path}",
        response_model=answers.WriteResponse,
        responses=error_examples.FORGET_USER,
        summary="Forget a user's profile",
    )
    def forget_user(user_id: str) -> Response:
        return _write(live, UserForgotten(override_key(user_id)))
