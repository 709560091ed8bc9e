"""Ids as they stand in a path, where everything is text."""

import re

from twotower.config.errors import InputError
from twotower.data.column import fits_64_bits
from twotower.data.vocabulary import Vocabulary
from twotower.serving.recommendation import ItemId

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""The one way to write a whole number, so that 7 and 007 are not the same item under two names."""


def id_of(text: str, vocabulary: Vocabulary, what: str) -> ItemId:
    """Return the id that a part of a path means.

    Args:
        text: as decoded.
        vocabulary: of ids of this kind, which are text or whole numbers.
        what: `item` or `user`, for the message.

    Raises:
        InputError: it is no whole number where ids are, or nothing that anybody could see.
    """
    if vocabulary.is_text:
        if not text.strip():
            raise InputError(f"{what}_id: expected more than white space, got {text!r:.80}")
        return text
    if WHOLE.fullmatch(text) is None or not fits_64_bits(int(text)):
        raise InputError(
            f"{what}_id: {what} ids of this bundle are whole numbers of 64 bits, got {text!r:.80}"
        )
    return int(text)
