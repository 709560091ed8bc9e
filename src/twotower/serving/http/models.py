"""Bodies of requests and answers, as the OpenAPI page shows them."""

from functools import partial
from typing import Annotated, Any, Literal, NotRequired

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic takes typing.TypedDict from Python 3.12 on

from twotower.serving.http.http_errors import HttpError, from_details

MAX_K = 1000
MAX_IDS = 100_000
"""Ids in one list of a request; the limit on the body comes first in practice."""
MAX_VALUES = 1000
MAX_TEXT = 10_000
MAX_COLUMNS = 50


def _refuse_large(given: Any, most: int) -> Any:
    """Refuse an object with many keys as a whole, instead of one error for each key."""
    if isinstance(given, dict) and len(given) > most:
        raise PydanticCustomError("too_many_keys", "at most {most} keys", {"most": most})
    return given


def _at_most(keys: int) -> BeforeValidator:
    return BeforeValidator(partial(_refuse_large, most=keys))


Id = Annotated[int | str, Field(description="an id of the type that the data have")]
Ids = Annotated[list[Id], Field(max_length=MAX_IDS, fail_fast=True)]
K = Annotated[int, Field(ge=1, le=MAX_K, description="number of items; fewer if fewer are available")]
Time = Annotated[int, Field(description="unix seconds")]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Scalar = Text | int | float | bool | None
Value = Scalar | Annotated[list[Scalar], Field(max_length=MAX_VALUES, fail_fast=True)]
Features = Annotated[dict[str, Value], Field(max_length=MAX_VALUES), _at_most(MAX_VALUES)]
Context = Annotated[dict[str, Value], Field(max_length=MAX_COLUMNS), _at_most(MAX_COLUMNS)]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


@with_config(STRICT)
class Range(TypedDict):
    """A range of numbers, both ends included."""

    min: NotRequired[float]
    max: NotRequired[float]


Where = Annotated[
    dict[str, Value | Annotated[Range, _at_most(2)]],
    Field(max_length=MAX_COLUMNS, description="item column -> a value, a list of values, or a range"),
    _at_most(MAX_COLUMNS),
]


class Strict(BaseModel):
    """A body without unknown keys and without conversions: 3.0 is not an integer, and "3" is text."""

    model_config = STRICT

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, given: Any) -> Any:
        return _refuse_large(given, len(cls.model_fields))


def examples(*examples: dict[str, Any]) -> ConfigDict:
    """Return a configuration with examples for the OpenAPI page."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class RecommendRequest(Strict):
    """A request for a `user_id`, or for a new user with `features` and `history`.

    With a `user_id`, `features` and `history` are of this request: they precede stored values and are not
    stored.
    """

    model_config = examples(
        {"user_id": 17850, "k": 5},
        {"user_id": 17850, "features": {"country": "France"}, "history": ["22423"], "k": 5},
        {"user_id": 17850, "context": {"device": "phone"}, "k": 5},
        {"features": {"country": "Germany"}, "history": ["22423"], "k": 5, "where": {"price": {"max": 5}}},
    )

    user_id: Id | None = None
    """a user of the bundle, or with an event or a profile"""
    features: Features = Field(default_factory=dict)
    """user column -> raw value, null for unknown; other columns have their stored value"""
    history: Ids = Field(default_factory=list)
    """item ids of the session, oldest first; they follow the stored history"""
    history_times: Annotated[list[Time], Field(max_length=MAX_IDS, fail_fast=True)] | None = None
    """unix seconds of each item of `history`; by default the time of the request"""
    request_time: Time | None = None
    """unix seconds; by default the end of the data, or the latest event of the user"""
    k: K = 10
    allow: Ids | None = None
    """the only items that can be recommended"""
    deny: Ids = Field(default_factory=list)
    """items that are not recommended"""
    where: Where = Field(default_factory=dict)
    exclude_seen: bool | None = None
    """whether items that the user has are excluded; by default as the data require"""
    history_events: Annotated[list[Text | None], Field(max_length=MAX_IDS, fail_fast=True)] | None = None
    """event type of each item of `history`; null is a positive interaction"""
    context: Context = Field(default_factory=dict)
    """column of the request, such as the device -> raw value; other columns are unknown"""


class BatchRequest(Strict):
    """Several requests, answered by one version."""

    model_config = examples({"requests": [{"user_id": 17850, "k": 5}, {"history": ["22423"], "k": 5}]})

    requests: list[RecommendRequest] = Field(min_length=1, fail_fast=True)


class PutItemRequest(Strict):
    """All features of a new or changed item."""

    model_config = examples({"features": {"description": "LUNCH BAG PINK RETROSPOT", "price": 1.65}})

    features: Features
    """item column -> raw value; other columns are unknown"""


class PutUserRequest(Strict):
    """The complete profile of a user; it replaces an earlier one."""

    model_config = examples({"features": {"country": "Germany"}})

    features: Features
    """user column -> raw value; other columns are unknown"""


class EventRequest(Strict):
    """An interaction of a user with an item."""

    model_config = examples(
        {"item_id": "22423", "time": 1323302400}, {"item_id": "22423", "time": 1323302400, "event": "view"}
    )

    item_id: Id
    time: Time | None = None
    """unix seconds; by default now"""
    event: Text | None = None
    """event type; by default a positive interaction"""


class ReloadRequest(Strict):
    """The name of a run in the configured folder, whose bundle is served next."""

    model_config = examples({"bundle": "2026-11-25_11-09-19-182892"})

    bundle: Annotated[str, Field(min_length=1, max_length=500)]


QUERIES: dict[str, TypeAdapter[dict[str, Any]]] = {
    "where": TypeAdapter(Where),
    "features": TypeAdapter(Features),
}


def read_query(name: Literal["where", "features"], text: str | None) -> dict[str, Any]:
    """Return the object that a part of a query has as JSON text. Raises HttpError 422."""
    if text is None:
        return {}
    try:
        return QUERIES[name].validate_python(orjson.loads(text.encode("utf-8", "replace")), strict=True)
    except orjson.JSONDecodeError as error:
        raise HttpError(422, f"{name}: not JSON: {error!s:.300}", name) from error
    except ValidationError as error:
        raise from_details(error.errors(), name) from error


class Versioned(BaseModel):
    """An answer of one bundle."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: str
    """of the bundle that answered"""


class Recommended(BaseModel):
    """One item; the score is the dot product of the embeddings, or the cosine of similar items."""

    item_id: Id
    score: float
    label: str | None


class Items(Versioned):
    """Items, best first."""

    items: list[Recommended]


class Item(Versioned):
    """An item, also a removed one."""

    item_id: Id
    label: str | None
    offered: bool
    """whether it can be recommended; a removed item stays in histories"""
    live: bool
    """whether it was added or changed since the bundle was written"""
    features: dict[str, Any]
    """column -> raw value, null if missing"""


class User(Versioned):
    """A user of the bundle, or with an event or a profile."""

    user_id: Id
    known: bool
    """whether the bundle has the user"""
    live: bool
    """whether there is a stored profile, which replaces the bundle's row"""
    features: dict[str, Any]
    """column -> raw value, null if missing"""


class ErrorContent(BaseModel):
    """The error, and the part of the request that is wrong."""

    message: str
    key: str | None = None


class ErrorResponse(BaseModel):
    """The form of every error."""

    error: ErrorContent


class Answer(BaseModel):
    """The answer to one request of a batch: items or an error."""

    items: list[Recommended] | None = None
    error: ErrorContent | None = None


class BatchResponse(Versioned):
    """One answer for each request, in the same order."""

    answers: list[Answer]


class WriteResponse(Versioned):
    """The change is on disk, and in effect for all later requests."""

    written: int
    """number of changes"""


class Status(Versioned):
    """Status of the service."""

    status: str


class Readiness(Status):
    """Status of the service, and limitations of its bundle."""

    known_until: str | None
    """UTC time of the latest interaction in the bundle"""
    warnings: list[str]
    """such as a rejected index, or a test window that the bundle does not contain"""
