"""Ids as clients write them: text is read as a whole number where the bundle's ids are such."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from twotower.config.errors import InputError
from twotower.data.source_column import fits_64_bits
from twotower.data.vocabulary import Vocabulary
from twotower.serving.live_items import ItemId
from twotower.serving.requests import Request, kind_of
from twotower.serving.retriever import Retriever

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""The one way to write a whole number, so that 7 and 007 are not the same item under two names."""


def id_of(text: str, vocabulary: Vocabulary, what: str) -> ItemId:
    """Return the id that a part of a path means. Raises InputError: not as the bundle's ids are written."""
    if vocabulary.is_text:
        if not text.strip():
            raise InputError(f"{what}_id: expected more than white space, got {text!r:.80}")
        return text
    key = read_id(text, vocabulary)
    if isinstance(key, str):
        raise InputError(f"{what}_id: {what} ids of this bundle are {kind_of(False)}, got {text!r:.80}")
    return key


def read_id(value: ItemId, vocabulary: Vocabulary) -> ItemId:
    """Return an id of a body; text as the whole number that it writes, where ids are such."""
    if not isinstance(value, str) or vocabulary.is_text or WHOLE.fullmatch(value) is None:
        return value
    number = int(value)
    return number if fits_64_bits(number) else value


def with_ids_of(retriever: Retriever, request: Request) -> Request:
    """Return a request with its ids as the bundle has them; see `read_id`."""
    users, items = retriever.bundle.users, retriever.bundle.items
    read: dict[str, Any] = {}
    if isinstance(request.user_id, str):
        read["user_id"] = read_id(request.user_id, users)
    if not items.is_text:
        for name in ("history", "allow", "deny"):
            given: Iterable[ItemId] | None = getattr(request, name)
            if given:
                read[name] = [read_id(each, items) for each in given]
    return replace(request, **read) if read else request
