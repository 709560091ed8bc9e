"""Errors as clients see them: one JSON shape, and a status that says whose fault it is."""

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

JSON = "application/json"
KEY = re.compile(r"([A-Za-z_][\w.\[\]]*): ")
LEADING_FOLDER = re.compile(r"^/[^:]*/")
MAX_MESSAGE = 1000
KINDS = frozenset(
    {"int", "str", "constrained-str", "float", "bool", "none", "Range", "body", "query", "path"}
)
"""What pydantic and FastAPI add to the place of a mistake."""

ENDPOINTS = {
    "put_item": "PUT /items/{item_id}",
    "put_user": "PUT /users/{user_id}",
    "recommend_new": "POST /recommend without user_id",
}
"""What clients call where Python calls a method; messages say `put_item()`."""
METHOD = re.compile(rf"\b({'|'.join(ENDPOINTS)})\(\)")

NO_ROUTE = {
    404: "there is no endpoint of this path; /docs shows those there are",
    405: "this path takes another method; /docs shows which",
}

M = TypeVar("M", bound=BaseModel)


class HttpError(Exception):
    """Ends a request with a status, a message and what it is about."""

    def __init__(
        self, status: int, message: str, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.key, self.headers = status, message, key, dict(headers or {})


def response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return plain values as JSON; what is not finite becomes null."""
    return Response(orjson.dumps(content), status, headers, JSON)


def error_response(error: HttpError) -> Response:
    """Return an error in the one shape that all have."""
    return response({"error": {"message": error.message, "key": error.key}}, error.status, error.headers)


def mistake(error: InputError) -> dict[str, str | None]:
    """Return a mistake's message, in endpoints' words, and the key that it begins with if it does."""
    text = METHOD.sub(lambda method: ENDPOINTS[method[1]], str(error))
    message = text[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    key = KEY.match(message)
    return {"message": message, "key": key[1] if key else None}


def from_input(error: InputError, headers: Mapping[str, str] | None = None) -> HttpError:
    """Return 404 for an unknown user or item, 409 during a reload, and 422 for any other mistake."""
    content = mistake(error)
    unknown = isinstance(error, UnknownUser | UnknownItem)
    status = 404 if unknown else 409 if isinstance(error, ReloadUnderWay) else 422
    return HttpError(status, str(content["message"]), content["key"], headers)


def without_folders(message: str, root: Path) -> str:
    """Return a message with files relative to `root`, of all bundles: where that is is nobody's business."""
    return LEADING_FOLDER.sub("", message.replace(f"{root}/", ""))


def checked(model: type[M], given: object) -> M:
    """Return a model of parsed values. Raises HttpError: 422, with the most precise of the mistakes."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise from_details(error.errors()) from error


def from_details(details: Sequence[Any], within: str = "") -> HttpError:
    """Return the most precise of the mistakes that pydantic found, as 422; `within` is what was looked at.

    Where a value may be of several kinds, pydantic tells what each of them expected.
    """
    keys = [_key(each["loc"], within) for each in details]
    key = max((key for key in keys if key.startswith(keys[0])), key=lambda each: each.count("."))
    same = [each for each, found in zip(details, keys, strict=True) if found == key]
    others = len({each for each in keys if not key.startswith(each)})
    more = f" (and {others} more)" if others else ""
    kind = same[0]["type"]
    if kind == "extra_forbidden":
        return HttpError(422, f"{key}: unknown key; /docs shows those there are{more}", key)
    if kind == "missing":
        return HttpError(422, f"{key}: required, but not given{more}", key)
    expected = dict.fromkeys(each["msg"].removeprefix("Input should be ") for each in same)
    return HttpError(
        422, f"{key}: expected {' or '.join(expected)}, got {_short(same[0]['input'])}{more}", key
    )


def _key(loc: Sequence[Any], within: str) -> str:
    """Return where a mistake is; which kind of a union was tried is no part of the request."""
    parts = [str(part) for part in loc if not (isinstance(part, str) and (part in KINDS or "[" in part))]
    return ".".join([within, *parts] if within else parts)[:200] or "body"


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return f"{value!r:.80}".encode("utf-8", "replace").decode()


def as_http(error: Exception, root: Path) -> HttpError:
    """Return the HTTP error of an exception; files are named relative to `root`."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, InputError):
        http_error = from_input(error)
        http_error.message = without_folders(http_error.message, root)
        return http_error
    if isinstance(error, StoreFailed):
        return HttpError(503, without_folders(str(error), root), headers={"Retry-After": "5"})
    if isinstance(error, RequestValidationError):
        return from_details(error.errors())
    if not isinstance(error, HTTPException):
        return HttpError(500, "the service failed; its log says how")
    return HttpError(error.status_code, NO_ROUTE.get(error.status_code, error.detail), headers=error.headers)
