"""What clients send, as the OpenAPI page shows it; what they get is in `answers.py`."""

from typing import Annotated, Any, NotRequired

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
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from twotower.serving.http.http_errors import HttpError, from_details

MAX_K = 1000
MAX_IDS = 100_000
"""Ids in one list of a request; the limit on the body comes first in practice."""
MAX_VALUES = 1000
MAX_TEXT = 10_000
MAX_COLUMNS = 50


def _few_keys(given: Any, most: int) -> Any:
    """Refuse an object of many keys before each of them makes a mistake of its own."""
    if isinstance(given, dict) and len(given) > most:
        raise PydanticCustomError("too_many_keys", "at most {most} keys", {"most": most})
    return given


def _at_most(keys: int) -> BeforeValidator:
    return BeforeValidator(lambda given: _few_keys(given, keys))


Id = Annotated[int | str, Field(description="an id of the data's own, of the kind that the catalogue has")]
K = Annotated[int, Field(ge=1, le=MAX_K, description="how many items; fewer come only where fewer are left")]
Time = Annotated[int, Field(description="unix seconds")]
Scalar = Annotated[str, Field(max_length=MAX_TEXT)] | int | float | bool | None
Value = Scalar | Annotated[list[Scalar], Field(max_length=MAX_VALUES, fail_fast=True)]
Features = Annotated[
    dict[str, Value],
    Field(max_length=MAX_VALUES, description="column -> raw value; those left out count as unknown"),
    _at_most(MAX_VALUES),
]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@with_config(STRICT)
class Range(TypedDict):
    """A range of numbers, both ends included."""

    min: NotRequired[float]
    max: NotRequired[float]


Where = Annotated[
    dict[str, Value | Annotated[Range, _at_most(2)]],
    Field(
        max_length=MAX_COLUMNS,
        description="column of the items -> the value, one of several values, or a range",
    ),
    _at_most(MAX_COLUMNS),
]


class Strict(BaseModel):
    """No unknown keys, and nothing converted: 3.0 is no whole number and "3" is a text."""

    model_config = STRICT

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, given: Any) -> Any:
        return _at_most(len(cls.model_fields)).func(given)  # type: ignore[call-arg]


def examples(*examples: dict[str, Any]) -> ConfigDict:
    """Return what shows examples on the OpenAPI page."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class RecommendRequest(Strict):
    """Give `user_id`, or else `features` and `history` of a user without one.

    Beside a `user_id` they are of this moment: they go before what is stored of the user, and are not stored.
    """

    model_config = examples(
        {"user_id": 17850, "k": 5},
        {"user_id": 17850, "features": {"country": "France"}, "history": ["22423"], "k": 5},
        {"user_id": 17850, "context": {"device": "phone"}, "k": 5},
        {"features": {"country": "Germany"}, "history": ["22423"], "k": 5, "where": {"price": {"max": 5}}},
    )

    user_id: Id | None = Field(
        None, description="known to the bundle, by an event or by PUT /users/{user_id}"
    )
    features: Features = Field(
        default_factory=dict,
        description="column -> raw value, null for unknown; those left out are as stored of the user, "
        "or unknown without `user_id`",
    )
    history: Annotated[list[Id], Field(max_length=MAX_IDS, fail_fast=True)] = Field(
        default_factory=list,
        description="ids of the items of the session, oldest first, after those that are stored of the user",
    )
    history_times: Annotated[list[Time], Field(max_length=MAX_IDS, fail_fast=True)] | None = Field(
        None, description="unix seconds of each item of `history`; the request's time if left out"
    )
    request_time: Time | None = Field(
        None, description="unix seconds; the end of the data, or the user's latest event, if left out"
    )
    k: K = 10
    allow: Annotated[list[Id], Field(max_length=MAX_IDS, fail_fast=True)] | None = Field(
        None, description="choose only from these"
    )
    deny: Annotated[list[Id], Field(max_length=MAX_IDS, fail_fast=True)] = Field(
        default_factory=list, description="never these"
    )
    where: Where = Field(default_factory=dict)
    exclude_seen: bool | None = Field(None, description="nothing the user has; left out: as the data asks")
    history_events: (
        Annotated[
            list[Annotated[str, Field(max_length=MAX_TEXT)] | None], Field(max_length=MAX_IDS, fail_fast=True)
        ]
        | None
    ) = Field(None, description="the data's word for what was done with each item of `history`")
    context: Annotated[
        dict[str, Value],
        Field(
            max_length=MAX_COLUMNS,
            description="column of the request (the device, the place) -> raw value; those left out are "
            "unknown",
        ),
        _at_most(MAX_COLUMNS),
    ] = Field(default_factory=dict)


class BatchRequest(Strict):
    """Several requests, answered by one version."""

    model_config = examples({"requests": [{"user_id": 17850, "k": 5}, {"history": ["22423"], "k": 5}]})

    requests: list[RecommendRequest] = Field(min_length=1, fail_fast=True)


class PutItemRequest(Strict):
    """The features of a new item, or all features of one that changes."""

    model_config = examples({"features": {"description": "LUNCH BAG PINK RETROSPOT", "price": 1.65}})

    features: Features


class PutUserRequest(Strict):
    """The profile of a user, whole: a later one takes its place."""

    model_config = examples({"features": {"country": "Germany"}})

    features: Features


class EventRequest(Strict):
    """An item that a user chose, or did something else with."""

    model_config = examples(
        {"item_id": "22423", "time": 1323302400}, {"item_id": "22423", "time": 1323302400, "event": "view"}
    )

    item_id: Id
    time: Time | None = Field(None, description="unix seconds; now if left out")
    event: Annotated[str, Field(max_length=MAX_TEXT)] | None = Field(
        None, description="the data's word for what the user did; an item that was chosen if left out"
    )


class ReloadRequest(Strict):
    """The bundle to serve from now on, by its name below the configured folder."""

    model_config = examples({"bundle": "2026-11-25_11-09-19-182892"})

    bundle: Annotated[str, Field(min_length=1, max_length=500)]


WHERE: TypeAdapter[dict[str, Any]] = TypeAdapter(Where)


FEATURES: TypeAdapter[dict[str, Any]] = TypeAdapter(Features)


def where_of(text: str | None) -> dict[str, Any]:
    """Return the conditions that a query holds as JSON text. Raises HttpError: 422, it holds none."""
    return _held(text, "where", WHERE)


def features_of(text: str | None) -> dict[str, Any]:
    """Return the features that a query holds as JSON text. Raises HttpError: 422, it holds none."""
    return _held(text, "features", FEATURES)


def _held(text: str | None, name: str, kind: TypeAdapter[dict[str, Any]]) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        return kind.validate_python(orjson.loads(text.encode("utf-8", "replace")), strict=True)
    except orjson.JSONDecodeError as error:
        raise HttpError(422, f"{name}: not JSON: {error!s:.300}", name) from error
    except ValidationError as error:
        raise from_details(error.errors(), name) from error
