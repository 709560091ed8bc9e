"""Settings and figures of runs as axes side by side."""

import re
from collections.abc import Sequence
from math import ceil, log10
from typing import Any

from twotower.reports.compare.columns import number_of
from twotower.reports.compare.comparison import Comparison, Row, telling_keys
from twotower.reports.compare.entries import label
from twotower.reports.compare.record import ABSENT

MOST_EVEN, MOST_TICKS = 6, 12
"""Of a setting's numbers up to so many are set at equal distances; of its texts so many are written."""
WIDE_RANGE, NUM_TICKS = 30, 5
"""An axis whose end is so many times its beginning is logarithmic, with so many figures on it."""
LONGEST_LINE = 13
"""Characters of a line of an axis's name, unless a single word is longer."""
MOST_FIGURES = 4


def parallel(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return axes over settings and figures of these rows, all settings that were varied among them.

    None where there are not two runs or no setting differs.
    """
    rows = [row for row in rows if row.value is not None]
    keys = [key for key in telling_keys(comparison.keys, comparison.records) if key != "seed"]
    axes = [_setting_axis(key, [row.entry.run.shown(key) for row in rows]) for key in keys]
    settings = [axis for axis in axes if axis]
    if len(rows) < 2 or not settings:
        return None
    shown = [comparison.metric, *comparison.columns]
    figures = [axis for key in shown if (axis := _figure_axis(key, rows))]
    return {
        "dimensions": [*settings, *figures[:MOST_FIGURES]],
        "colour": [row.value for row in rows],
        "label": label(comparison.metric),
    }


def _setting_axis(key: str, values: Sequence[str]) -> dict[str, Any] | None:
    distinct = set(values)
    if len(distinct) < 2:
        return None
    if len(distinct) > MOST_EVEN and all(number_of(text) is not None for text in distinct - {ABSENT}):
        return {"label": _axis_label(key), **_number_axis([number_of(text) for text in values])}
    # Equal distances, so that 32, 64, 1024 are as easy to tell apart as words.
    order = sorted(
        distinct, key=lambda text: (text == ABSENT, number_of(text) is None, number_of(text) or 0, text)
    )
    ticks = range(0, len(order), ceil(len(order) / MOST_TICKS))
    return {
        "label": _axis_label(key),
        "values": [order.index(value) for value in values],
        "tickvals": list(ticks),
        "ticktext": [order[tick] for tick in ticks],
        "range": [-0.3, len(order) - 0.7],
    }


def _number_axis(numbers: Sequence[float | None]) -> dict[str, Any]:
    """Return places on an axis, logarithmic where the range is wide; a run without the setting is below."""
    known = [number for number in numbers if number is not None]
    log = min(known) > 0 and max(known) >= WIDE_RANGE * min(known)
    places = [log10(number) if log else number for number in known]
    low, high = min(places), max(places)
    ticks = [low + (high - low) * at / (NUM_TICKS - 1) for at in range(NUM_TICKS)]
    texts = [f"{10**tick if log else tick:.3g}" for tick in ticks]
    below = low - (high - low) / (NUM_TICKS - 1)
    absent = [below] if len(known) < len(numbers) else []
    return {
        "values": [below if number is None else places.pop(0) for number in numbers],
        "tickvals": [*absent, *ticks],
        "ticktext": [*(ABSENT for _ in absent), *texts],
        "range": [*(absent or [low]), high],
    }


def _figure_axis(key: str, rows: Sequence[Row]) -> dict[str, Any] | None:
    values = [row.entry.figures.get(key) for row in rows]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or max(known) == min(known):
        return None
    return {"label": _axis_label(label(key)), "values": known}


def _axis_label(key: str) -> str:
    """Return the whole key, in lines that end behind words."""
    lines = [""]
    for word in re.findall(r"[^._ ]+[._ ]?", key):
        if lines[-1] and len(lines[-1] + word) > LONGEST_LINE:
            lines.append("")
        lines[-1] += word
    return "<br>".join(lines)
