"""Errors as JSON in one form, with an HTTP status."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from twotower.config.errors import InputError
from twotower.serving.live.change_store import StoreFailed
from twotower.serving.live.live_service import ReloadUnderWay
from twotower.serving.requests import UnknownItem, UnknownUser

KEY = re.compile(r"([A-Za-z_][\w.\[\]]*): ")
LEADING_FOLDER = re.compile(r"^/[^:]*/")
MAX_MESSAGE = 1000
LOCATION_KINDS = frozenset(
    {"int", "str", "constrained-str", "float", "bool", "none", "Range", "body", "query", "path"}
)
"""Parts of a location that pydantic and FastAPI add; they are not keys of the request."""

ENDPOINTS = {
    "put_item": "PUT /items/{item_id}",
    "put_user": "PUT /users/{user_id}",
    "recommend_new": "POST /recommend without user_id",
}
"""Python methods in messages -> the endpoints that clients call."""
METHOD = re.compile(rf"\b({'|'.join(ENDPOINTS)})\(\)")

NO_ROUTE = {
    404: "no endpoint has this path; /docs shows all endpoints",
    405: "this path takes another method; /docs shows which",
}

M = TypeVar("M", bound=BaseModel)


class HttpError(Exception):
    """Ends a request with a status, a message, and the key of the request that is wrong."""

    def __init__(
        self, status: int, message: str, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.key, self.headers = status, message, key, dict(headers or {})

    @property
    def content(self) -> dict[str, str | None]:
        """The error as plain values."""
        return {"message": self.message, "key": self.key}


def response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return plain values as JSON; numbers that are not finite become null."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def error_response(error: HttpError) -> Response:
    """Return an error as JSON."""
    return response({"error": error.content}, error.status, error.headers)


def from_input(error: InputError, headers: Mapping[str, str] | None = None) -> HttpError:
    """Return 404 for an unknown user or item, 409 during a reload, and 422 for any other input error."""
    text = METHOD.sub(lambda method: ENDPOINTS[method[1]], str(error))
    message = text[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    key = KEY.match(message)
    unknown = isinstance(error, UnknownUser | UnknownItem)
    status = 404 if unknown else 409 if isinstance(error, ReloadUnderWay) else 422
    return HttpError(status, message, key[1] if key else None, headers)


def validated(model: type[M], given: object) -> M:
    """Return a model of parsed values. Raises HttpError 422."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise from_details(error.errors()) from error


def from_details(details: Sequence[Any], within: str = "") -> HttpError:
    """Return the most precise error of pydantic as 422; `within` precedes its location.

    For a union, pydantic reports an error for each type.
    """
    keys = [_key(each["loc"], within) for each in details]
    key = max((key for key in keys if key.startswith(keys[0])), key=lambda each: each.count("."))
    same = [each for each, found in zip(details, keys, strict=True) if found == key]
    others = len({each for each in keys if not key.startswith(each)})
    more = f" (and {others} more)" if others else ""
    kind = same[0]["type"]
    if kind == "extra_forbidden":
        return HttpError(422, f"{key}: unknown key; /docs shows all keys{more}", key)
    if kind == "missing":
        return HttpError(422, f"{key}: required, but not given{more}", key)
    expected = " or ".join(dict.fromkeys(each["msg"].removeprefix("Input should be ") for each in same))
    value = same[0]["input"]
    got = f"{value!r:.80}".encode("utf-8", "replace").decode()
    if isinstance(value, dict | list):
        got = f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return HttpError(422, f"{key}: expected {expected}, got {got}{more}", key)


def _key(location: Sequence[Any], within: str) -> str:
    parts = [
        str(part)
        for part in location
        if not (isinstance(part, str) and (part in LOCATION_KINDS or "[" in part))
    ]
    return ".".join([within, *parts] if within else parts)[:200] or "body"


def as_http(error: Exception, root: Path) -> HttpError:
    """Return the HTTP error of an exception; files are named relative to `root`, the folder of bundles."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, RequestValidationError):
        return from_details(error.errors())
    if isinstance(error, HTTPException):
        message = NO_ROUTE.get(error.status_code, error.detail)
        return HttpError(error.status_code, message, headers=error.headers)
    if isinstance(error, InputError):
        found = from_input(error)
    elif isinstance(error, StoreFailed):
        found = HttpError(503, str(error), headers={"Retry-After": "5"})
    else:
        return HttpError(500, "the service failed; see its log")
    found.message = LEADING_FOLDER.sub("", found.message.replace(f"{root}/", ""))
    return found
