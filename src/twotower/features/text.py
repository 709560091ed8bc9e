"""Titles and descriptions as hashed words and character n-grams."""

import functools
import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from twotower.config.spec import Length, PositiveInt
from twotower.features.encoders import BagEncoder
from twotower.features.feature import BoolArray, EmbeddedFeature
from twotower.features.raw_values import first_rows_first

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
        weighting: Literal["mean", "idf"] = "mean"
        """`mean`, or `idf` to weigh rare tokens more: 1 + ln((1 + texts) / (1 + texts with it))."""

    class State(EmbeddedFeature.State):
        """The known tokens (hashes) in row order, the number of texts with each, and the number of texts."""

        tokens: list[int] = Field(default_factory=list)
        counts: list[int] = Field(default_factory=list)
        num_texts: int = 0
        num_first: int | None = None
        """Number of tokens of the first training, None for all; see `BagEncoder`."""

        @functools.cached_property
        def row_of(self) -> dict[int, int]:
            """Token -> row."""
            return {token: row for row, token in enumerate(self.tokens, start=1)}

    config: Config
    state: State
    expected = "text"

    def encoder(self) -> BagEncoder:
        """Return a new table of embeddings, averaged with the token weights."""
        state, weights = self.state, np.ones(len(self.state.tokens) + 1)
        if self.config.weighting == "idf":
            weights[1:] += np.log((1 + state.num_texts) / (1 + np.asarray(state.counts, dtype=np.float64)))
        return BagEncoder(torch.from_numpy(weights.astype(np.float32)), self.config.dim, state.num_first)

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.array([not isinstance(value, str) for value in values], dtype=np.bool_)

    def _learn(self, values: pd.Series) -> State:
        counts = Counter(itertools.chain.from_iterable(self._tokenize(values)))
        tokens = sorted(token for token, count in counts.items() if count >= self.config.min_count)
        return self.State(
            tokens=tokens, counts=[counts[token] for token in tokens], num_texts=int(values.notna().sum())
        )

    def _grown(self, values: pd.Series) -> State:
        state, found = self.state, self._learn(values)
        counts = dict(zip(found.tokens, found.counts, strict=True))
        more = [token for token in found.tokens if token not in state.row_of]
        return self.State(
            tokens=[*state.tokens, *more],
            # Weights of known tokens do not change; new tokens are weighted by the first number of texts.
            counts=[*state.counts, *(min(counts[token], state.num_texts) for token in more)],
            num_texts=state.num_texts,
            num_first=len(state.tokens) if state.num_first is None else state.num_first,
        )

    def _encode(self, values: pd.Series) -> Tensor:
        width, row_of = self.config.max_tokens, self.state.row_of
        encoded: npt.NDArray[np.int32] = np.zeros((len(values), width), dtype=np.int32)
        for position, tokens in enumerate(self._tokenize(values)):
            known = [row_of[token] for token in tokens if token in row_of]
            rows = first_rows_first(known, self.state.num_first)[:width]
            encoded[position, : len(rows)] = rows
        return torch.from_numpy(encoded)

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
