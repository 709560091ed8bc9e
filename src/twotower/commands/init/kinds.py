"""The kind of feature of a column, inferred from its values."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from twotower.commands.init.roles import ISO, OTHER_DATE
from twotower.commands.init.sample import Column

MAX_CATEGORIES = 1000
MARKS = "|;,/"
LEAST_KEY = 100_000
"""Distinct whole numbers from here on are keys, such as EANs."""
LEAST_REPEATS = 2
"""Minimum mean number of rows per value of a category."""
CODE_WORDS = """country region city state zip plz postcode os browser device platform channel environment
    referrer manufacturer brand vendor supplier category class department genre group segment type kind
    status gender sex language currency job occupation land stadt hersteller marke
    kategorie gruppe sprache geschlecht"""
DISPLAY_WORDS = "title titel name label bezeichnung headline produktname 标题"
UNREADABLE = {
    ISO: "it holds dates, for which there is no kind of feature",
    OTHER_DATE: "it holds dates, for which there is no kind of feature",
    r"(https?://|www\.)\S+": "it holds addresses, for which there is no kind of feature",
    r"-?\d+,\d+": "numbers with a comma; write them with a point",
}
"""Pattern of texts that no kind of feature reads -> the reason."""
KEY = "a key of its own for almost every row"


@dataclass(frozen=True)
class Kind:
    """A kind of feature.

    Attributes:
        reason: why.
        target: class in `twotower.features`; empty if the column is left out.
        settings: further keys of its YAML.
    """

    reason: str
    target: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def spec(self, column: str) -> dict[str, Any]:
        """Return the YAML of a column."""
        return {"_target_": f"twotower.features.{self.target}", "column": column, **self.settings}


def infer_kind(column: Column) -> Kind:
    """Return the kind of a column of users, of items, or of the context."""
    values = column.values
    if values.empty:
        return Kind("it is empty")
    if column.has_lists:
        first = values.iloc[0]
        is_numeric = len(first) and all(isinstance(each, float | np.floating) for each in first)
        if is_numeric and values.map(len).nunique() == 1:
            return Kind(f"vectors of {len(first)} numbers", "vector.Vector")
        return Kind("lists of values", "tags.Tags", {"dim": 16})
    if len(column.distinct) == 1:
        return Kind(f"it holds nothing but {column.distinct[0]!r:.40}")
    if column.numbers is not None:
        return _number_kind(column, column.numbers)
    if not all(isinstance(value, str) for value in values):
        return Kind(f"there is no kind of feature for {type(values.iloc[0]).__name__}")
    return _text_kind(column)


def _categories(number: int, reason: str) -> Kind:
    """Return categories; the width of the embedding is a power of two between 4 and 32."""
    dim = int(min(32, max(4, 2 ** round(np.log2(number) / 2 + 1))))
    return Kind(reason, "categorical.Categorical", {"dim": dim})


def _number_kind(column: Column, numbers: "pd.Series[Any]") -> Kind:
    number = len(column.distinct)
    repeats = len(numbers) / number
    is_named = column.is_key or column.has_word(CODE_WORDS)
    if column.is_whole:
        is_rare = repeats < LEAST_REPEATS and (column.is_key or number > MAX_CATEGORIES)
        is_id = number == len(numbers) > 20 and float(numbers.min()) >= LEAST_KEY
        if is_rare if is_named else is_id:
            return Kind(KEY)
        if is_named or number == 2:
            return _categories(number, f"{number} codes")
    if numbers.min() >= 0 and numbers.max() > 20 * max(float(numbers.median()), 1e-9):
        return Kind("numbers that span magnitudes", "numeric.Numeric", {"transform": "log1p"})
    return Kind("numbers", "numeric.Numeric")


def _text_kind(column: Column) -> Kind:
    values, number = column.values, len(column.distinct)
    for pattern, reason in UNREADABLE.items():
        if column.matches(pattern):
            return Kind(reason)
    if values.str.startswith("[").mean() > 0.9:
        return Kind("lists written as text; write their values with | between them")
    if (mark := _mark(values)) is not None:
        settings = {"separator": mark, "dim": 16}
        return Kind(f"several values with {mark!r} between them", "tags.Tags", settings)
    repeats = len(values) / number
    is_word = values.str.count(r"\w+").mean() < 1.5
    has_few = is_word or (number <= MAX_CATEGORIES and repeats >= 3)
    if has_few and (repeats >= LEAST_REPEATS or number <= 20):
        return _categories(number, f"{number} different words")
    if is_word:
        return Kind("a word of its own for almost every row")
    return Kind("texts", "text.HashedText", {"dim": 32})


def _mark(values: "pd.Series[str]") -> str | None:
    """Return the separator of several values in one text, None without repeated parts."""
    for mark in MARKS:
        if values.str.contains(mark, regex=False).sum() < max(2, len(values) / 10):
            continue
        parts = [part.strip() for text in values for part in text.split(mark) if part.strip()]
        # Sentences have commas too: their parts are long, and come once.
        if len(parts) >= 2 * len(set(parts)) and np.mean([part.count(" ") for part in parts]) < 2:
            return mark
    return None


def is_display_name(column: Column) -> bool:
    """Return whether a column is a display name of items."""
    texts = all(isinstance(value, str) for value in column.values[:100])
    return texts and column.has_word(DISPLAY_WORDS) and not column.is_key


def feature_name(column: str, taken: set[str]) -> str:
    """Return a feature name of letters, digits and underscores."""
    from twotower.features.feature import is_taken  # with torch, which questions need not wait for

    spelled = column.casefold().translate(str.maketrans("äöüß", "aous"))
    name = re.sub(r"[^a-z0-9]+", "_", spelled).strip("_") or "feature"
    name = f"{name}_" if is_taken(name) or name[0].isdigit() else name
    while name in taken:
        name += "_"
    return name
