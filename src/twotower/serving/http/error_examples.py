"""The errors that the OpenAPI page shows: those of each endpoint, each with an example of its own."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from twotower.serving.http import answers


class Example(NamedTuple):
    """What a status means, and an answer that has it."""

    meaning: str
    message: str
    key: str | None = None


USUAL = {
    400: Example(
        "not JSON",
        "body: not JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)",
        "body",
    ),
    401: Example(
        "no key that this service knows",
        "Authorization: expected `Bearer <key>` with a key of this service",
        "Authorization",
    ),
    403: Example("the key may only read", "Authorization: this key may only read", "Authorization"),
    413: Example("the body is too large", "body: expected at most 1,000,000 bytes", "body"),
    415: Example(
        "not application/json, or compressed", "Content-Type: expected application/json", "Content-Type"
    ),
    503: Example(
        "the disk accepts no writes, and nothing was stored",
        "live.sqlite: nothing was stored (database or disk is full)",
    ),
}
NONE: Mapping[int, Example] = MappingProxyType({})
ANY = (401,)
BODY = (400, 413, 415)
WRITE = (403, 503)

NO_USER = Example(
    "nobody has this id",
    "user_id: user 99999 is not among the 4,334 users of this bundle, and no event or profile is of this "
    "user; put a profile in with PUT /users/{user_id}, or give the user's features and history to "
    "POST /recommend without user_id",
    "user_id",
)
NO_ITEM = Example(
    "there is no such item",
    "item_id: item 'NEW-2' is not in the catalogue of 3,659 items; leave it out, or put it in first with "
    "PUT /items/{item_id}",
    "item_id",
)
REMOVED = Example(
    "no such item is offered",
    "item_id: item '22423' was removed from the catalogue; leave it out, or offer it again with "
    "PUT /items/{item_id}",
    "item_id",
)
NO_PROFILE = Example(
    "no profile was put in",
    "user_id: no profile of user 17850 was put in, so there is none to forget",
    "user_id",
)
WRONG_K = Example("a value is wrong; `key` says which", "k: expected greater than or equal to 1, got 0", "k")
WRONG_IN_BATCH = Example(
    "a value is wrong; `key` says which",
    "requests.0.k: expected greater than or equal to 1, got 0",
    "requests.0.k",
)
WRONG_COLUMN = Example(
    "a value is wrong; `key` says which",
    "features: 'colour' is not a feature of this model; there is description, price",
    "features",
)
WRONG_PROFILE = Example(
    "a value is wrong; `key` says which",
    "features: 'contry' is not a feature of this model; did you mean country? there is country",
    "features",
)
WRONG_TIME = Example(
    "a value is wrong; `key` says which",
    "time: expected whole unix seconds between 1970-01-02 and 2100, got 0",
    "time",
)
WRONG_USER = Example(
    "the id is of another kind than the bundle's",
    "user_id: user ids of this bundle are whole numbers of 64 bits, got 'anna'",
    "user_id",
)
WRONG_ITEM = Example(
    "the id is of another kind than the bundle's",
    "item_id: item ids of this bundle are whole numbers of 64 bits, got 'lamp'",
    "item_id",
)
WRONG_BUNDLE = Example(
    "no bundle, or a damaged one; the one in use goes on",
    "bundle: 'gone' is no folder of the root of bundles; the latest: 2026-11-25_11-09-19-182892",
    "bundle",
)
RELOADING = Example(
    "another reload is under way", "reload: another one is under way; ask again when it is done", "reload"
)
TOO_MANY = Example(
    "the body is too large, or has too many requests", "requests: expected at most 256, got 300", "requests"
)
WAITING = Example("too much is waiting", "too many requests are waiting; try again")


def _with_examples(*usual: int, own: Mapping[int, Example] = NONE) -> dict[int | str, dict[str, Any]]:
    """Return what `responses` of an endpoint takes: the usual examples of statuses, and its own."""
    examples = {status: USUAL[status] for status in usual} | dict(own)
    return {
        status: {
            "model": answers.ErrorResponse,
            "description": each.meaning,
            "content": {
                "application/json": {"example": {"error": {"message": each.message, "key": each.key}}}
            },
        }
        for status, each in sorted(examples.items())
    }


RECOMMEND = _with_examples(*ANY, *BODY, own={404: NO_USER, 422: WRONG_K, 503: WAITING})
RECOMMEND_BATCH = _with_examples(*ANY, *BODY, own={413: TOO_MANY, 422: WRONG_IN_BATCH, 503: WAITING})
SIMILAR = _with_examples(*ANY, own={404: REMOVED, 422: WRONG_K})
GET_ITEM = _with_examples(*ANY, own={404: NO_ITEM, 422: WRONG_ITEM})
PUT_ITEM = _with_examples(*ANY, *BODY, *WRITE, own={422: WRONG_COLUMN})
DELETE_ITEM = _with_examples(*ANY, *WRITE, own={404: REMOVED, 422: WRONG_ITEM})
ADD_EVENT = _with_examples(*ANY, *BODY, *WRITE, own={404: NO_ITEM, 422: WRONG_TIME})
GET_USER = _with_examples(*ANY, own={404: NO_USER, 422: WRONG_USER})
PUT_USER = _with_examples(*ANY, *BODY, *WRITE, own={422: WRONG_PROFILE})
FORGET_USER = _with_examples(*ANY, *WRITE, own={404: NO_PROFILE, 422: WRONG_USER})
RELOAD = _with_examples(*ANY, *BODY, 403, own={409: RELOADING, 422: WRONG_BUNDLE})
FIGURES = _with_examples(*ANY)
