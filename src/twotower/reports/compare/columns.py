"""The columns of a comparison, as texts for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from twotower.reports.compare.comparison import Comparison, Row
from twotower.reports.compare.entries import label, validation_key, written
from twotower.reports.compare.judge import NOT_COMPARABLE, NOT_TESTED, Difference
from twotower.reports.compare.record import ABSENT, DAMAGED
from twotower.runs.folder_name import rounded, short_keys, short_words

NUMBER, DIFFERENCE, INTERVAL, P_VALUE = "#", "difference", "95 % interval", "p"
VERDICT, WHAT_DIFFERS, SPREAD = "verdict", "what differs", "mean ± sd (seeds)"


@dataclass(frozen=True)
class Column:
    """One column: its heading, a text a row, and whether these are words; else they are numbers."""

    heading: str
    cells: list[str]
    words: bool = False


def names_of(comparison: Comparison) -> Column:
    """Return where each row lies."""
    by_configuration = any(row.entry.kind == "configuration" for row in comparison.rows)
    names = [row.entry.name for row in comparison.rows]
    return Column("configuration" if by_configuration else "run", names, True)


def numbers_of(comparison: Comparison) -> Column:
    """Return the number of each row, from 1."""
    return Column(NUMBER, [str(number) for number in range(1, len(comparison.rows) + 1)])


def labels_of(comparison: Comparison, keys: Sequence[str]) -> Column:
    """Return what tells each row from the others, in short words: its settings of these keys."""
    return Column(WHAT_DIFFERS, [label_of(row, keys) for row in comparison.rows], True)


def built_in_of(comparison: Comparison) -> list[Column]:
    """Return what the built-in baselines are called, who have no settings; no column where none is shown."""
    names = ["" if row.entry.trained else row.entry.name for row in comparison.rows]
    return [Column("built in", names, True)] if any(names) else []


def label_of(row: Row, keys: Sequence[str]) -> str:
    """Return a row's settings of these keys in short words; its name where it has none of them."""
    entry = row.entry
    if not entry.trained:
        return entry.name
    known = [key for key in keys if key in entry.run.settings]
    words = short_words([f"{key}={entry.run.shown(key).replace(', ', ',')}" for key in known])
    seeds = f" ({len(entry.runs)} seeds)" if len(entry.runs) > 1 else ""
    return " ".join(words) + seeds if words else entry.name


def settings_of(comparison: Comparison, keys: Sequence[str], short: bool = False) -> list[Column]:
    """Return a column a setting; short ones have the words and digits that labels have."""
    headings = short_keys(keys) if short else keys
    return [_setting(comparison, key, heading, short) for key, heading in zip(keys, headings, strict=True)]


def _setting(comparison: Comparison, key: str, heading: str, short: bool) -> Column:
    cells = [row.entry.run.shown(key) if row.entry.trained else "" for row in comparison.rows]
    words = any(number_of(cell) is None for cell in cells if cell not in ("", ABSENT))
    return Column(heading, [rounded(cell) for cell in cells] if short else cells, words)


def number_of(text: str) -> float | None:
    """Return the number that a setting's text is, None where it is none, or infinite."""
    try:
        return number if isfinite(number := float(text)) else None
    except ValueError:
        return None


def figures_of(comparison: Comparison) -> list[Column]:
    """Return the figures, that of the validation split first, the difference and, last, the verdict."""
    rows, metric = comparison.rows, comparison.metric
    of_keys = {
        key: Column(label(key), [written(key, row.entry.figures.get(key)) for row in rows])
        for key in (*comparison.columns, metric)
    }
    first = [of_keys.pop(key) for key in (validation_key(metric), metric) if key in of_keys]
    if any(row.spread for row in rows):
        first.append(Column(SPREAD, [_spread(metric, row) for row in rows]))
    found = [*first, *of_keys.values()]
    told = [told_of(row.verdict, reason_beside(row)) for row in rows]
    return [*found, *_difference(metric, [row.difference for row in rows]), Column(VERDICT, told, True)]


def pair_columns(comparison: Comparison, keys: Sequence[str] | None) -> list[Column]:
    """Return all pairs, the left one judged against the right; without keys rows have numbers alone."""
    pairs = comparison.pairs
    told = {
        id(row.entry): f"{NUMBER}{number}" + ("" if keys is None else f" {label_of(row, keys)}")
        for number, row in enumerate(comparison.rows, start=1)
    }
    return [
        Column("run", [told[id(pair.left)] for pair in pairs], True),
        Column("against", [told[id(pair.right)] for pair in pairs], True),
        *_difference(comparison.metric, pairs),
        Column(VERDICT, [told_of(pair.verdict, pair.reason) for pair in pairs], True),
    ]


def reason_beside(row: Row) -> str:
    """Return the reason to show in the row; what is said of a damaged file is long, and in a note."""
    return "" if row.verdict == DAMAGED else row.reason


def told_of(verdict: str, reason: str) -> str:
    """Return verdict and reason as one text."""
    if not verdict or not reason:
        return verdict or reason
    return f"{verdict}: {reason}" if verdict in (NOT_COMPARABLE, NOT_TESTED) else f"{verdict}, {reason}"


def _spread(metric: str, row: Row) -> str:
    if row.spread is None:
        return ""
    mean, sd = written(metric, row.spread.mean), written(metric, row.spread.sd)
    return f"{mean} ± {sd} ({row.spread.num_seeds})"


def _difference(metric: str, differences: Sequence[Difference | None]) -> list[Column]:
    deltas = [written(metric, each.delta, sign=True) if each else "" for each in differences]
    tested = [each.tested if each else None for each in differences]
    if not any(tested):
        return [Column(DIFFERENCE, deltas)]
    bounds = [[written(metric, bound, sign=True) for bound in (t.low, t.high)] if t else None for t in tested]
    return [
        Column(DIFFERENCE, deltas),
        Column(INTERVAL, [f"[{each[0]}, {each[1]}]" if each else "" for each in bounds]),
        Column(P_VALUE, [_p_value(each.corrected) if each else "" for each in tested]),
    ]


def _p_value(value: float) -> str:
    return "<.0001" if value < 0.0001 else f"{value:.4f}"
