"""Titles and descriptions as hashed words and character n-grams."""

import functools
import re
import zlib
from typing import Any

import pandas as pd
from torch import Tensor

from twotower.config.spec import Length, PositiveInt
from twotower.model.features.bag_feature import BagFeature

WORD = re.compile(r"[^\W_]+")
GRAM_SIZES = (3, 4, 5)


class HashedText(BagFeature):
    """The mean of the embeddings of a text's words and character n-grams.

    Tokens of at least `min_count` training texts have an embedding. Others are dropped; a text without known
    tokens gives zeros.

    Reference: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
    """

    class Config(BagFeature.Config):
        buckets: PositiveInt = 1_000_000
        """Range of the hash; two tokens with one hash share an embedding."""
        max_tokens: Length = 64
        """Maximum number of tokens of one text, words first; further ones are dropped."""
        min_count: PositiveInt = 2
        """Minimum number of training texts with a token."""
        char_ngrams: bool = True
        """Whether to use character n-grams (3 to 5), which also represent unseen words."""

    config: Config
    expected = "text"

    def tokens(self, value: Any) -> list[int]:
        """Return the distinct hashes of a text's words in lower case, then of their n-grams."""
        words: dict[int, None] = {}
        grams: dict[int, None] = {}
        for word in WORD.findall(value.lower()) if isinstance(value, str) else ():
            first, *ngrams = _hash_word(word, self.config.buckets, self.config.char_ngrams)
            words[first] = None
            grams.update(dict.fromkeys(ngrams))
        return list(words | grams)

    def _wrong(self, values: pd.Series) -> list[bool]:
        return [not isinstance(value, str) for value in values]

    def _encode(self, values: pd.Series) -> Tensor:
        return self.encode_bags(values, self.config.max_tokens)


@functools.lru_cache(100_000)
def _hash_word(word: str, buckets: int, char_ngrams: bool) -> tuple[int, ...]:
    """Return the hash of a word, then of its n-grams (3 to 5) with marked edges; the same on every machine.

    Reference: Bojanowski et al., Enriching Word Vectors with Subword Information, TACL 2017, section 3.2.
    """
    tokens = [f"w{word}"]
    if char_ngrams:
        marked = f"<{word}>"
        tokens += [f"g{marked[i : i + n]}" for n in GRAM_SIZES for i in range(len(marked) - n + 1)]
    # Unlike hash(), crc32 is the same in every process.
    return tuple(zlib.crc32(token.encode("utf-8", "replace")) % buckets for token in tokens)
