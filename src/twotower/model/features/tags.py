"""Several values at once: genres, keywords, categories."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from twotower.config.spec import Length
from twotower.data.text_lists import list_in_text
from twotower.model.features.bag_feature import BagFeature
from twotower.model.features.raw_values import is_value


class Tags(BagFeature):
    """The mean of the embeddings of tags seen in training; unknown tags are dropped, no tags give zeros."""

    class Config(BagFeature.Config):
        """Settings of several values at once.

        `column` holds lists, lists written as text (`["a", "b"]`), or text that `separator` splits.
        """

        separator: str | None = None
        """Separator of tags in text; without one, a text is one tag."""
        max_tags: Length = 16
        """Maximum number of tags of one entity; further ones are dropped."""

    config: Config
    expected = "a list of tags (text or finite numbers), or text"

    def tokens(self, value: Any) -> list[Any]:
        """Return the tags of a raw value."""
        parts: Sequence[Any] = ()
        if isinstance(value, str):
            listed, separator = list_in_text(value), self.config.separator
            parts = (value.split(separator) if separator else [value]) if listed is None else listed
        elif isinstance(value, set | frozenset):
            parts = sorted(value, key=repr)
        elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
            parts = list(value)
        stripped = [part.strip() if isinstance(part, str) else part for part in parts]
        return [part for part in stripped if not (isinstance(part, str) and part == "")]

    def _wrong(self, values: pd.Series) -> list[bool]:
        kinds = (str, list, tuple, set, frozenset, np.ndarray)
        return [not (isinstance(value, kinds) and all(map(is_value, self.tokens(value)))) for value in values]

    def _encode(self, values: pd.Series) -> Tensor:
        return self.encode_bags(values, self.config.max_tags)
