"""Ids as clients write them: text is read as an integer if the ids of the bundle are integers."""

import re
from dataclasses import replace
from typing import Any

from twotower.config.errors import InputError
from twotower.data.source_column import fits_64_bits
from twotower.data.vocabulary import Vocabulary
from twotower.serving.live_items import ItemId
from twotower.serving.requests import Request, kind_of
from twotower.serving.retriever import Retriever

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""The only way to write an integer: 007 does not name the item 7."""


def id_of(text: str, vocabulary: Vocabulary, what: str) -> ItemId:
    """Return the id in a path. Raises InputError: another type than the ids of the bundle."""
    if vocabulary.is_text and not text.strip():
        raise InputError(f"{what}_id: expected more than white space, got {text!r:.80}")
    key = read_id(text, vocabulary)
    if isinstance(key, str) and not vocabulary.is_text:
        raise InputError(f"{what}_id: {what} ids of this bundle are {kind_of(False)}, got {text!r:.80}")
    return key


def read_id(value: ItemId, vocabulary: Vocabulary) -> ItemId:
    """Return an id of a body; text becomes the integer that it writes if the ids are integers."""
    if not isinstance(value, str) or vocabulary.is_text or WHOLE.fullmatch(value) is None:
        return value
    number = int(value)
    return number if fits_64_bits(number) else value


def with_ids_of(retriever: Retriever, request: Request) -> Request:
    """Return a request with the ids of a bundle; see `read_id`."""
    users, items = retriever.bundle.users, retriever.bundle.items
    read: dict[str, Any] = {}
    if isinstance(request.user_id, str):
        read["user_id"] = read_id(request.user_id, users)
    if not items.is_text:
        for name in ("history", "allow", "deny"):
            if given := getattr(request, name):
                read[name] = [read_id(each, items) for each in given]
    return replace(request, **read) if read else request
