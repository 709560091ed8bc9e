"""The first word of a text, which often names a colour, a material or a brand."""

import pandas as pd
from torch import Tensor

from twotower.model.features.categorical import Categorical


class FirstWord(Categorical):
    """A learned embedding for each first word seen in training."""

    def _learn(self, values: pd.Series) -> Categorical.State:
        return super()._learn(first_words(values))

    def _encode(self, values: pd.Series) -> Tensor:
        return super()._encode(first_words(values))


def first_words(texts: pd.Series) -> pd.Series:
    """Return the first word of each text in capital letters, None without one."""
    words = [text.upper().split() if isinstance(text, str) else [] for text in texts]
    return pd.Series([each[0] if each else None for each in words], texts.index, dtype=object)
