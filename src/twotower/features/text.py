"""Titles and descriptions as hashed words and character n-grams."""

import functools
import itertools
import re
import zlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
from torch import Tensor

from twotower.config.spec import Length, PositiveInt
from twotower.features.encoders import BagEncoder
from twotower.features.feature import BoolArray, EmbeddedFeature
from twotower.features.raw_values import BagRows

WORD = re.compile(r"[^\W_]+")
GRAM_SIZES = (3, 4, 5)


class HashedText(EmbeddedFeature):
    """The mean of the embeddings of a text's words and character n-grams.

    Tokens of at least `min_count` training texts have an embedding. Others are dropped; a text without known
    tokens gives zeros.

    Reference: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
    """

    class Config(EmbeddedFeature.Config):
        """Settings of hashed text."""

        buckets: PositiveInt = 1_000_000
        """Range of the hash; two tokens with one hash share an embedding."""
        max_tokens: Length = 64
        """Maximum number of tokens of one text, words first; further ones are dropped."""
        min_count: PositiveInt = 2
        """Minimum number of training texts with a token."""
        char_ngrams: bool = True
        """Whether to use character n-grams (3 to 5), which also represent unseen words."""

    class State(BagRows):
        """The known tokens (hashes) in row order."""

    config: Config
    state: State
    expected = "text"

    def encoder(self) -> BagEncoder:
        """Return a new table of embeddings, averaged over tokens."""
        return BagEncoder(len(self.state.values) + 1, self.config.dim, self.state.num_first)

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.array([not isinstance(value, str) for value in values], dtype=np.bool_)

    def _learn(self, values: pd.Series) -> State:
        return self.State.fit(itertools.chain.from_iterable(self._tokenize(values)), self.config.min_count)

    def _grown(self, values: pd.Series) -> State:
        return self.state.grown(self._learn(values))

    def _encode(self, values: pd.Series) -> Tensor:
        return self.state.encode(self._tokenize(values), len(values), self.config.max_tokens)

    def _tokenize(self, values: pd.Series) -> Iterator[list[int]]:
        for value in values:
            known = isinstance(value, str)
            yield hashed_tokens(value, self.config.buckets, self.config.char_ngrams) if known else []


def hashed_tokens(text: str, buckets: int, char_ngrams: bool) -> list[int]:
    """Return the distinct hashes of a text's words in lower case, then of their n-grams if `char_ngrams`.

    The n-grams (3 to 5) are those of each word with marked edges. Hashes are the same on every machine.

    Reference: Bojanowski et al., Enriching Word Vectors with Subword Information, TACL 2017, section 3.2.
    """
    hashes: dict[int, None] = {}
    grams: dict[int, None] = {}
    for word in WORD.findall(text.lower()):
        first, *others = _hash_word(word, buckets, char_ngrams)
        hashes[first] = None
        grams.update(dict.fromkeys(others))
    return list(hashes | grams)


@functools.lru_cache(100_000)
def _hash_word(word: str, buckets: int, char_ngrams: bool) -> tuple[int, ...]:
    tokens = [f"w{word}"]
    if char_ngrams:
        marked = f"<{word}>"
        tokens += [f"g{marked[i : i + n]}" for n in GRAM_SIZES for i in range(len(marked) - n + 1)]
    # Unlike hash(), crc32 is the same in every process.
    return tuple(zlib.crc32(token.encode("utf-8", "replace")) % buckets for token in tokens)
