"""The kind of feature of a column, inferred from its values."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from twotower.commands.init.sample import Column
from twotower.commands.init.time_column import ISO, OTHER_DATE

FEATURES = "twotower.features."
MOST_CATEGORIES = 1000
MARKS = "|;,/"
LEAST_KEY = 100_000
"""Distinct whole numbers from here on are keys, such as EANs."""
LEAST_REPEATS = 2
"""Minimum mean number of rows per value of a category."""
MOST_CODES, CODE_REPEATS = 30, 10
"""Whole numbers under any name are codes if there are at most so many values with so many rows each."""
CODE_WORDS = """country region city state zip plz postcode os browser device platform channel environment
    referrer manufacturer brand vendor supplier category class department genre group segment type kind
    status gender sex language currency job occupation land stadt hersteller marke
    kategorie gruppe sprache geschlecht"""
QUANTITY_WORDS = """age year price cost amount count quantity size length duration height weight width rank
    rating score alter jahr preis menge anzahl dauer"""
LABEL_WORDS = frozenset({"title", "titel", "name", "label", "bezeichnung", "headline", "produktname", "标题"})
UMLAUTS = str.maketrans("äöüß", "aous")


@dataclass(frozen=True)
class Kind:
    """A kind of feature.

    Attributes:
        spec: its YAML; empty if the column is left out.
        reason: why.
    """

    spec: dict[str, Any]
    reason: str


def infer_kind(column: Column) -> Kind:
    """Return the kind of a column of users, of items, or of the context."""
    values = column.values
    if not len(values):
        return Kind({}, "it is empty")
    if isinstance(values.iloc[0], list | np.ndarray):
        return _list_kind(column)
    if len(column.distinct) == 1:
        return Kind({}, f"it holds nothing but {column.distinct[0]!r:.40}")
    if column.numbers is not None:
        return _number_kind(column)
    if not all(isinstance(value, str) for value in values):
        return Kind({}, f"there is no kind of feature for {type(values.iloc[0]).__name__}")
    return _text_kind(column)


def _spec(target: str, column: Column, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"{FEATURES}{target}", "column": column.name, **settings}


def _dim(number: int) -> int:
    """Return the width of an embedding of so many values: a power of two between 4 and 32."""
    return int(min(32, max(4, 2 ** round(np.log2(max(number, 1)) / 2 + 1))))


def _list_kind(column: Column) -> Kind:
    first = column.values.iloc[0]
    lengths = {len(value) for value in column.values}
    if len(first) and all(isinstance(each, float | np.floating) for each in first) and len(lengths) == 1:
        return Kind(_spec("vector.Vector", column), f"vectors of {len(first)} numbers")
    return Kind(_spec("tags.Tags", column, dim=16), "lists of values")


def _number_kind(column: Column) -> Kind:
    numbers = column.numbers
    assert numbers is not None
    number = len(column.distinct)
    repeats = len(numbers) / number
    if column.is_whole and (why := _code(column, repeats)):
        if repeats < LEAST_REPEATS and (column.is_key or number > MOST_CODES):
            return Kind({}, "a key of its own for almost every row")
        return Kind(_spec("categorical.Categorical", column, dim=_dim(number)), f"{number} codes: {why}")
    if column.is_whole and number == len(numbers) > 20 and float(numbers.min()) >= LEAST_KEY:
        return Kind({}, "a key of its own for almost every row")
    skewed = numbers.min() >= 0 and numbers.max() > 20 * max(float(numbers.median()), 1e-9)
    if skewed:
        return Kind(_spec("numeric.Numeric", column, transform="log1p"), "numbers that span magnitudes")
    return Kind(_spec("numeric.Numeric", column), "numbers")


def _code(column: Column, repeats: float) -> str | None:
    """Return why integers are codes of categories, None if they are quantities."""
    if column.is_key or column.words & set(CODE_WORDS.split()):
        return "its name is that of a code"
    number = len(column.distinct)
    if number == 2:
        return "two values"
    assert column.numbers is not None
    is_float = not pd.api.types.is_integer_dtype(column.numbers.dtype)
    is_quantity = is_float or column.words & set(QUANTITY_WORDS.split())
    if number <= MOST_CODES and repeats >= CODE_REPEATS and not is_quantity:
        return f"few whole numbers, each {repeats:.0f} times"
    return None


def _text_kind(column: Column) -> Kind:
    values, number = column.values, len(column.distinct)
    for pattern, what in ((ISO, "dates"), (OTHER_DATE, "dates"), (r"(https?://|www\.)\S+", "addresses")):
        if values.str.fullmatch(pattern).all():
            return Kind({}, f"it holds {what}, for which there is no kind of feature")
    if values.str.fullmatch(r"-?\d+,\d+").all():
        return Kind({}, "numbers with a comma; write them with a point")
    if values.str.startswith("[").mean() > 0.9:
        return Kind({}, "lists written as text; write their values with | between them")
    if (mark := _mark(column)) is not None:
        return Kind(
            _spec("tags.Tags", column, separator=mark, dim=16), f"several values with {mark!r} between them"
        )
    repeats = len(values) / number
    words = values.str.count(r"\w+").mean()
    is_word = words < 1.5
    few = number <= MOST_CATEGORIES or is_word
    if few and (repeats >= 3 or is_word) and (repeats >= LEAST_REPEATS or number <= 20):
        return Kind(_spec("categorical.Categorical", column, dim=_dim(number)), f"{number} different words")
    if not is_word:
        return Kind(_spec("text.HashedText", column, dim=32), "texts")
    return Kind({}, "a word of its own for almost every row")


def _mark(column: Column) -> str | None:
    """Return the separator of several values in one text, None without repeated parts."""
    for mark in MARKS:
        cut = column.values[column.values.str.contains(mark, regex=False)]
        if len(cut) < max(2, len(column.values) / 10):
            continue
        parts = [part.strip() for text in column.values for part in text.split(mark) if part.strip()]
        # Sentences have commas too: their parts are long, and come once.
        if len(parts) >= 2 * len(set(parts)) and np.mean([part.count(" ") for part in parts]) < 2:
            return mark
    return None


def is_label(column: Column) -> bool:
    """Return whether a column is a display name of items."""
    texts = all(isinstance(value, str) for value in column.values[:100])
    return texts and bool(column.words & LABEL_WORDS) and not column.is_key


def feature_name(column: str, taken: set[str]) -> str:
    """Return a feature name of letters, digits and underscores."""
    from twotower.features.feature import is_taken  # with torch, which questions need not wait for

    spelled = column.casefold().translate(UMLAUTS)
    name = re.sub(r"[^a-z0-9]+", "_", spelled).strip("_") or "feature"
    name = f"{name}_" if is_taken(name) or name[0].isdigit() else name
    while name in taken:
        name += "_"
    return name
