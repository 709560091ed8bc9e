"""What clients get, as the OpenAPI page shows it."""

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.responses import Response

from twotower.serving.http.http_errors import response
from twotower.serving.http.models import Id, examples


class Recommended(BaseModel):
    """One item."""

    item_id: Id
    score: float = Field(description="dot product of the two embeddings; of directions for similar items")
    label: str | None = Field(description="the item's name for people")


class Items(BaseModel):
    """Items, the best first."""

    model_config = examples(
        {
            "version": "2026-11-25_11-09-19-182892-ab12cd34ef56",
            "items": [{"item_id": "22423", "score": 3.25, "label": "REGENCY CAKESTAND 3 TIER"}],
        }
    )

    version: str = Field(description="of the bundle that answered")
    items: list[Recommended]


class Item(BaseModel):
    """What is known of an item."""

    model_config = examples(
        {
            "version": "2026-11-25_11-09-19-182892-ab12cd34ef56",
            "item_id": "22423",
            "label": "REGENCY CAKESTAND 3 TIER",
            "offered": True,
            "live": False,
            "features": {"description": "REGENCY CAKESTAND 3 TIER", "price": 12.75},
        }
    )

    version: str = Field(description="of the bundle that answered")
    item_id: Id
    label: str | None = Field(description="the item's name for people")
    offered: bool = Field(description="requests can get it; one that was removed stays in histories")
    live: bool = Field(description="it was put in or changed since the bundle was made")
    features: dict[str, Any] = Field(description="column -> raw value, null where it is missing")


class User(BaseModel):
    """What is known of a user."""

    model_config = examples(
        {
            "version": "2026-11-25_11-09-19-182892-ab12cd34ef56",
            "user_id": 17850,
            "known": True,
            "live": False,
            "features": {"country": "United Kingdom"},
        }
    )

    version: str = Field(description="of the bundle that answered")
    user_id: Id
    known: bool = Field(description="the bundle knows the user")
    live: bool = Field(description="a profile was put in, and counts instead of the bundle's")
    features: dict[str, Any] = Field(description="column -> raw value, null where it is missing")


class Mistake(BaseModel):
    """What is wrong, and where."""

    message: str
    key: str | None = Field(None, description="the part of the request that is wrong")


class ErrorResponse(BaseModel):
    """The one shape of every error."""

    model_config = examples({"error": {"message": "k: expected 1 or more, got 0", "key": "k"}})

    error: Mistake


class Answer(BaseModel):
    """Of one request of a batch: items, or what was wrong with it."""

    items: list[Recommended] | None = None
    error: Mistake | None = None


class BatchResponse(BaseModel):
    """One answer for each request, in their order."""

    version: str = Field(description="of the bundle that answered all of them")
    answers: list[Answer]


class WriteResponse(BaseModel):
    """Durable, and part of every request that is sent from now on."""

    model_config = examples({"version": "2026-11-25_11-09-19-182892-ab12cd34ef56", "written": 1})

    version: str
    written: int = Field(description="changes that were made")


class Status(BaseModel):
    """Whether the service answers, and with which bundle."""

    model_config = examples({"status": "ready", "version": "2026-11-25_11-09-19-182892-ab12cd34ef56"})

    status: str
    version: str


class Readiness(Status):
    """Whether the service answers, with which bundle, and what to know about that."""

    model_config = examples(
        {
            "status": "ready",
            "version": "2026-11-25_11-09-19-182892-ab12cd34ef56",
            "known_until": "2011-11-11 15:02:00",
            "warnings": [],
        }
    )

    known_until: str | None = Field(description="UTC time of the latest interaction that the bundle knows")
    warnings: list[str] = Field(description="an index that was rejected, a test window that is not known")


VERSION_HEADER = "x-bundle-version"


@functools.lru_cache(maxsize=8)
def version_header(version: str) -> Mapping[str, str]:
    """Return the header that names a version, percent-encoded where a header requires it."""
    return {VERSION_HEADER: quote(version, safe=" !#$&'()*+,/:;=?@[]~")}


def respond(version: str, **content: Any) -> Response:
    """Return an answer that names its version, in the body and in the header."""
    return response({"version": version, **content}, headers=version_header(version))
