"""What a column may be, by the words of its name and by its values: a role in a log, or a kind of feature.

To add a role, add a line to `ROLES`; to add a kind of feature, add a test to `KINDS`.
"""

import re
from collections.abc import Callable, Mapping, Set
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from twotower.commands.init.sample import EVENT_WORDS, WORDS, Column
from twotower.data.table_reader import texts_of_one_number
from twotower.data.text_lists import list_in_text
from twotower.data.times import LATEST, YEAR, parsed_dates

ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
OTHER_DATE = r"\d{1,4}[./]\d{1,2}[./]\d{1,4}.*"
DATE = f"{ISO}|{OTHER_DATE}"
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
"""Formats other than ISO 8601 that are recognized."""
UNITS = {"s": "seconds since 1970", "ms": "milliseconds since 1970", "iso": "dates in ISO 8601"}
LABEL = WORDS["label"] | WORDS["rating"]
FLAGS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"ja", "nein"})
MAX_EVENT_TYPES, MAX_CONTEXTS, MAX_CATEGORIES = 30, 1000, 1000
MIN_KEY = 100_000
"""Distinct whole numbers from here on are keys, such as EANs."""
MIN_REPEATS = 2
"""Minimum mean number of rows per value of a category."""
MAX_FEW, MIN_ROWS = 32, 20
"""Whole numbers whose name says nothing are codes if they have few values, with many rows each on average."""
MARKS = "|;>,/"
MONEY = "[$€£¥₹]"
AMOUNT = (
    rf"{MONEY} ?-?\d[\d.,]*|-?\d[\d.,]* ?{MONEY}|-?\d+,\d+|-?\d{{1,3}}((\.\d{{3}})*,\d+|(,\d{{3}})*\.\d+)"
)
"""Numbers with a sign of a currency, a decimal comma, or marks between thousands."""
UNREADABLE = {
    DATE: "it holds dates of another form; add a twotower.model.features.date.Date with their `format`",
    AMOUNT: "numbers with a comma or the sign of a currency; write them as 1703.94",
    r"(https?://|www\.)\S+|[^@\s]+@[^@\s]+\.\w+": "it holds addresses, for which there is no kind of feature",
}
"""Pattern of texts that no kind of feature reads -> the reason."""


class Role(NamedTuple):
    """A column of a log, which words of its name and its values reveal."""

    key: str
    """Key of the data's YAML that names the column."""
    words: Set[str]
    test: Callable[[Column], str | None] = lambda column: "its name"
    """Returns why the values of a column with such a name fit; None if they do not."""


def time_unit(column: Column) -> str | None:
    """Return the unit of times: s, ms or iso; None if the values are not readable as times."""
    if column.numbers is None:
        is_time = pd.api.types.is_datetime64_any_dtype(column.values.dtype) or column.matches(ISO)
        return "iso" if is_time else None
    middle = column.numbers.median()
    return next((unit for unit, n in (("s", 1), ("ms", 1000)) if 5 * YEAR * n < middle < LATEST * n), None)


def _time(column: Column) -> str | None:
    unit = time_unit(column)
    return f"it holds {UNITS[unit]}" if unit else None


def _split(column: Column) -> str | None:
    is_split = len(column.distinct) > 1 and {*column.distinct} <= {"train", "valid", "test"}
    return "it holds train, valid or test" if is_split else None


def is_binary(column: Column) -> bool:
    """Return whether the values are 0 and 1."""
    return column.numbers is not None and {*column.numbers.unique()} == {0, 1}


def _label(column: Column) -> str | None:
    if not column.ends_with(LABEL):
        return None
    if is_binary(column):
        return "it holds 0 and 1"
    is_label = column.has_word(WORDS["rating"]) or len(column.distinct) == 2
    return "its name" if is_label and column.numbers is not None else None


def is_called_event(column: Column) -> bool:
    """Return whether a name means event types: `type` or `action_type`, but not `device_type`."""
    has_only = not column.num_other_words(WORDS["event"] | WORDS["interaction"] | {"type", "name"})
    return _has_few(column) and (column.parts == ["type"] or (has_only and column.has_word(WORDS["event"])))


def _has_few(column: Column) -> bool:
    """Return whether values repeat and are as few as event types."""
    return 1 < len(column.distinct) <= min(MAX_EVENT_TYPES, len(column.values) - 1)


def event_role(word: str) -> str:
    """Return the role of an event type in a log with purchases; empty if the word is unknown."""
    plain = re.sub(r"[\W_]+", "", word.casefold())
    return next((role for role, words in EVENT_WORDS.items() if plain in words), "")


def is_flag(column: Column) -> bool:
    """Return whether the values are 0 and 1, or words such as yes and no."""
    return is_binary(column) or {word.casefold() for word in column.distinct} in FLAGS


def is_outcome(column: Column) -> bool:
    """Return whether a column says how a row ended: words such as `refunded`, or numbers below 0."""
    if column.has_word(WORDS["context"]):
        return False
    is_called = column.has_word(WORDS["outcome"])
    if (numbers := column.numbers) is not None and len(numbers) and numbers.min() < 0:
        is_count = _has_few(column) and not (numbers % 1).any() and not _called(column)[0]
        return is_called or column.has_word(WORDS["purchase"]) or is_count
    if numbers is None and not is_called:
        num_known = sum(map(bool, map(event_role, column.distinct)))
        is_called = column.ends_with(LABEL) or 2 * num_known >= len(column.distinct)
    return is_called and _has_few(column)


def is_context(column: Column) -> bool:
    """Return whether a column is called what a request knows, and has few values."""
    is_few = 1 < len(column.distinct) <= MAX_CONTEXTS and not column.matches(ISO)
    return is_few and column.has_word(WORDS["context"])


ROLES = {
    "user": Role("user_column", WORDS["user"]),
    "item": Role("item_column", WORDS["item"]),
    "time": Role("timestamp_column", WORDS["time"], _time),
    "split": Role("split_column", WORDS["split"], _split),
    "label": Role("label_column", LABEL, _label),
    "event": Role(
        "event_column",
        WORDS["event"] | {"type"},
        lambda each: (
            "its name, and it holds few words" if is_called_event(each) and each.numbers is None else None
        ),
    ),
}
"""Role of one column -> how it is recognized, in the order of inference."""


class Kind(NamedTuple):
    """A kind of feature, with the reason."""

    reason: str
    target: str = ""
    """Class in `twotower.model.features`; empty if the column is left out."""
    settings: Mapping[str, Any] = MappingProxyType({})
    """Further keys of its YAML."""
    is_text: bool = False
    """Whether the column stays text although it holds numbers (`data.text_columns`)."""


def infer_kind(column: Column) -> Kind:
    """Return the kind of a column of users, of items, or of the context."""
    return next(kind for test in KINDS if (kind := test(column)) is not None)


def _dates(column: Column) -> Kind | None:
    """Return dates if all values have one format; where two fit, such as 1/2/2024, no kind."""
    if len(column.distinct) < 2 or not column.matches(DATE):
        return None
    kind = Kind("dates", "date.Date", {"dim": 8})
    if parsed_dates(column.values).notna().all():
        return kind
    formats = [form for form in DATE_FORMATS if parsed_dates(column.values, form).notna().all()]
    return kind._replace(settings={"dim": 8, "format": formats[0]}) if len(formats) == 1 else None


def _unusable_and_lists(column: Column) -> Kind | None:
    if column.values.empty:
        return Kind("it is empty")
    if len(column.distinct) == 1:
        return Kind(column.single_value())
    first = column.values.iloc[0]
    if not column.has_lists:
        is_readable = column.is_text or column.numbers is not None
        return None if is_readable else Kind(f"there is no kind of feature for {type(first).__name__}")
    is_numeric = len(first) and all(isinstance(each, float | np.floating) for each in first)
    if is_numeric and column.values.map(len).nunique() == 1:
        return Kind(f"vectors of {len(first)} numbers", "vector.Vector")
    return Kind("lists of values", "tags.Tags", {"dim": 16})


def _called(column: Column) -> tuple[str, str]:
    """Return whether a name says code, quantity or neither (""), and the word that says so."""
    if len(column.parts) > 1 and column.parts[0] in WORDS["counted"]:
        return "quantity", column.parts[0]
    for word in reversed(column.parts):
        if word in WORDS["quantity"]:
            return "quantity", word
        if word in WORDS["code"] | WORDS["key"]:
            return "code", word
    return "", ""


def _whole_numbers(column: Column) -> Kind | None:
    """Return categories, or no kind for keys; None for quantities."""
    numbers, number = column.numbers, len(column.distinct)
    if numbers is None or (numbers != np.floor(numbers)).any():
        return None
    called, word = _called(column)
    if called == "quantity":
        return None
    is_rare = len(numbers) < MIN_REPEATS * number and (column.is_key or number > MIN_ROWS)
    is_id = number == len(numbers) > MIN_ROWS and float(numbers.min()) >= MIN_KEY
    if is_rare if called else is_id:
        return Kind(f"a key of its own for almost every row: {number:,} in {len(numbers):,} rows")
    if called:
        return _categories(number, f"{number:,} codes: {word!r} in its name")
    if number == 2 or number <= min(MAX_FEW, len(numbers) / MIN_ROWS):
        return _categories(number, f"codes: only {number} whole numbers in {len(numbers):,} rows")
    return None


def _numbers(column: Column) -> Kind | None:
    if (numbers := column.numbers) is None:
        return None
    called, word = _called(column)
    if called != "quantity" and column.is_text and (texts := texts_of_one_number(column.values)):
        reason = f"codes: {' and '.join(texts)} are among them"
        return _categories(len(column.distinct), reason)._replace(is_text=True)
    reason = f"a quantity: {word!r} in its name" if called == "quantity" else "numbers"
    if numbers.min() >= 0 and numbers.max() > 20 * max(float(numbers.median()), 1e-9):
        return Kind(f"{reason}; they span magnitudes", "numeric.Numeric", {"transform": "log1p"})
    return Kind(reason, "numeric.Numeric")


def _lists_in_text(column: Column) -> Kind | None:
    """Return tags if the texts are lists of texts that repeat; no kind for other lists."""
    if column.values.str.lstrip().str.startswith("[").mean() <= 0.9:
        return None
    found = column.values.map(list_in_text)
    parts = [part for each in found.dropna() for part in each]
    is_tags = found.isna().mean() <= 0.1 and not any(isinstance(part, dict | list | float) for part in parts)
    if is_tags and len(parts) >= 2 * len(set(parts)):
        return Kind("lists, written as text", "tags.Tags", {"dim": 16})
    return Kind("lists, written as text, of numbers or of values that hardly repeat")


def _separated(column: Column) -> Kind | None:
    """Return tags if the texts have several values each, which repeat; a title is a text."""
    if column.has_word(WORDS["display"]):
        return None
    values = column.values[column.values.str.casefold() != "n/a"]
    for mark in MARKS:
        if values.str.contains(mark, regex=False).sum() < max(2, len(values) / 10):
            continue
        parts = [part.strip() for text in values for part in text.split(mark) if part.strip()]
        # Sentences have commas too: their parts are long, and come once.
        if len(parts) >= 2 * len(set(parts)) and np.mean([part.count(" ") for part in parts]) < 2:
            settings = {"separator": mark, "dim": 16}
            return Kind(f"several values with {mark!r} between them", "tags.Tags", settings)
    return None


def _text(column: Column) -> Kind:
    number = len(column.distinct)
    repeats = len(column.values) / number
    is_word = column.values.str.count(r"\w+").mean() < 1.5
    has_few = is_word or (number <= MAX_CATEGORIES and repeats >= 3)
    if has_few and (repeats >= MIN_REPEATS or number <= 20):
        return _categories(number, f"{number} different words")
    if is_word:
        return Kind("a word of its own for almost every row")
    return Kind("texts", "text.HashedText", {"dim": 32})


def _categories(number: int, reason: str) -> Kind:
    """Return categories; the width of the embedding is a power of two between 4 and 32."""
    dim = int(np.clip(2 ** round(np.log2(number) / 2 + 1), 4, 32))
    return Kind(reason, "categorical.Categorical", {"dim": dim})


KINDS: tuple[Callable[[Column], Kind | None], ...] = (
    _dates,
    _unusable_and_lists,
    _whole_numbers,
    _numbers,
    _lists_in_text,
    lambda column: next((Kind(why) for form, why in UNREADABLE.items() if column.matches(form)), None),
    _separated,
    _text,
)
"""Tests of a column; the first that returns a kind decides."""
