"""Parallel coordinates: settings and figures of runs on parallel axes."""

import re
from collections.abc import Sequence
from math import ceil, log10
from typing import Any

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.comparison_notes import main_keys, plotted_rows
from twotower.reports.compare.figure_names import heading
from twotower.reports.compare.run_frame import ABSENT
from twotower.reports.compare.text_columns import parse_number, setting_texts

MOST_EVEN, MOST_TICKS = 6, 12
"""How many different numbers of a setting are drawn at equal distances, and how many texts have a tick."""
WIDE_RANGE, NUM_TICKS = 30, 5
"""An axis whose end is this many times its beginning is logarithmic; the number of its ticks."""
LONGEST_LINE = 13
"""Characters of a line of an axis's name, unless a single word is longer."""
MOST_FIGURES = 4


def parallel_axes(comparison: Comparison) -> dict[str, Any] | None:
    """Return axes for the main settings and figures of the runs; None for one run or equal settings."""
    if comparison.metric not in comparison.rows:
        return None
    rows = plotted_rows(comparison).dropna(subset=[comparison.metric])
    keys = [key for key in main_keys(comparison) if key != "seed"]
    axes = [setting_axis(key, setting_texts(rows, key)) for key in keys]
    settings = [axis for axis in axes if axis]
    if len(rows) < 2 or not settings:
        return None
    shown = [key for key in (comparison.metric, *comparison.columns) if key in rows]
    figures = [
        {"label": axis_label(heading(key)), "values": rows[key].tolist()}
        for key in shown
        if rows[key].notna().all() and rows[key].max() != rows[key].min()
    ]
    return {
        "dimensions": [*settings, *figures[:MOST_FIGURES]],
        "color": rows[comparison.metric].tolist(),
        "label": heading(comparison.metric),
    }


def setting_axis(key: str, values: Sequence[str]) -> dict[str, Any] | None:
    """Return the axis of a setting, given its text in each row; None if all are equal."""
    distinct = set(values)
    if len(distinct) < 2:
        return None
    if len(distinct) > MOST_EVEN and all(parse_number(text) is not None for text in distinct - {ABSENT}):
        return {"label": axis_label(key), **_number_axis([parse_number(text) for text in values])}
    # Equal distances, so that 32, 64, 1024 are as easy to tell apart as words.
    order = sorted(
        distinct, key=lambda text: (text == ABSENT, parse_number(text) is None, parse_number(text) or 0, text)
    )
    ticks = range(0, len(order), ceil(len(order) / MOST_TICKS))
    return {
        "label": axis_label(key),
        "values": [order.index(value) for value in values],
        "tickvals": list(ticks),
        "ticktext": [order[tick] for tick in ticks],
        "range": [-0.3, len(order) - 0.7],
    }


def _number_axis(numbers: Sequence[float | None]) -> dict[str, Any]:
    """Return positions on an axis, logarithmic if the range is wide; a run without the setting is below."""
    known = [number for number in numbers if number is not None]
    log = min(known) > 0 and max(known) >= WIDE_RANGE * min(known)
    positions = [log10(number) if log else number for number in known]
    low, high = min(positions), max(positions)
    ticks = [low + (high - low) * at / (NUM_TICKS - 1) for at in range(NUM_TICKS)]
    texts = [f"{10**tick if log else tick:.3g}" for tick in ticks]
    below = low - (high - low) / (NUM_TICKS - 1)
    absent = [below] if len(known) < len(numbers) else []
    return {
        "values": [below if number is None else positions.pop(0) for number in numbers],
        "tickvals": [*absent, *ticks],
        "ticktext": [*(ABSENT for _ in absent), *texts],
        "range": [*(absent or [low]), high],
    }


def axis_label(key: str) -> str:
    """Return the whole key, with line breaks after words."""
    lines = [""]
    for word in re.findall(r"[^._ ]+[._ ]?", key):
        if lines[-1] and len(lines[-1] + word) > LONGEST_LINE:
            lines.append("")
        lines[-1] += word
    return "<br>".join(lines)
