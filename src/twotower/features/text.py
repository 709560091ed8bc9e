"""Titles and descriptions, without a language model: hashed words and parts of words."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from twotower.config.spec import Length, PositiveInt, Width
from twotower.features.bag_encoder import BagEncoder
from twotower.features.feature import BoolArray, Feature, Missing
from twotower.features.text_tokens import hashed_tokens


class HashedText(Feature):
    """The mean of the embeddings of a text's words and character n-grams.

    Only tokens that training can learn something from get an embedding: those of at least `min_count` train
    texts. All others are dropped; a text without known tokens gives zeros.

    Args:
        column: see `Feature`.
        dim: width of an embedding.
        buckets: range of the hash; two tokens with one hash share an embedding.
        max_tokens: of one text, words first; further ones are dropped.
        min_count: train texts a token needs to get an embedding.
        char_ngrams: use the character n-grams (3 to 5) of words too: kin of unseen words are then known.
        weighting: `mean`, or `idf` to weigh rare tokens more: 1 + ln((1 + texts) / (1 + texts with it)).
        missing: see `Feature`.

    Reference: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
    """

    expected = "text"

    def __init__(
        self,
        *,
        column: str,
        dim: Width,
        buckets: PositiveInt = 1_000_000,
        max_tokens: Length = 64,
        min_count: PositiveInt = 2,
        char_ngrams: bool = True,
        weighting: Literal["mean", "idf"] = "mean",
        missing: Missing = "error",
    ) -> None:
        super().__init__(column=column, missing=missing)
        self.dim = dim
        self.buckets = buckets
        self.max_tokens = max_tokens
        self.min_count = min_count
        self.char_ngrams = char_ngrams
        self.weighting = weighting
        self.set_state({"tokens": [], "counts": [], "num_texts": 0})

    @property
    def output_dim(self) -> int:
        """Width of an embedding."""
        return self.dim

    def encoder(self) -> BagEncoder:
        """Return a fresh table of embeddings, averaged with the token weights."""
        weights = np.ones(len(self.tokens) + 1)
        if self.weighting == "idf":
            weights[1:] += np.log((1 + self.num_texts) / (1 + np.asarray(self.counts, dtype=np.float64)))
        return BagEncoder(torch.from_numpy(weights.astype(np.float32)), self.dim)

    def state(self) -> dict[str, Any]:
        """Return the known tokens (hashes) in row order, train texts that hold each, and train texts."""
        return {"tokens": self.tokens, "counts": self.counts, "num_texts": self.num_texts}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        self.tokens: list[int] = state["tokens"]
        self.counts: list[int] = state["counts"]
        self.num_texts: int = state["num_texts"]
        self._row_of = {token: row for row, token in enumerate(self.tokens, start=1)}

    def _wrong(self, values: pd.Series) -> BoolArray:
        return np.array([not isinstance(value, str) for value in values], dtype=np.bool_)

    def _learn(self, values: pd.Series) -> None:
        counts = Counter(token for tokens in self._tokenise(values) for token in tokens)
        tokens = sorted(token for token, count in counts.items() if count >= self.min_count)
        self.set_state(
            {
                "tokens": tokens,
                "counts": [counts[token] for token in tokens],
                "num_texts": int(values.notna().sum()),
            }
        )

    def _encode(self, values: pd.Series) -> Tensor:
        encoded: npt.NDArray[np.int32] = np.zeros((len(values), self.max_tokens), dtype=np.int32)
        for position, tokens in enumerate(self._tokenise(values)):
            rows = [self._row_of[token] for token in tokens if token in self._row_of][: self.max_tokens]
            encoded[position, : len(rows)] = rows
        return torch.from_numpy(encoded)

    def _tokenise(self, values: pd.Series) -> Iterator[list[int]]:
        memo: dict[str, list[int]] = {}
        for value in values:
            known = isinstance(value, str)
            yield hashed_tokens(value, self.buckets, self.char_ngrams, memo) if known else []
