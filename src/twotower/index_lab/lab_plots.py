"""Plots of measured indexes."""

import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from twotower.experiments.tensorboard.plots import COLORS, LEGEND, make_figure, set_log_scale
from twotower.index_lab.measure import LabRow

STYLES: list[dict[str, Any]] = [
    {"color": color, "marker": marker, "ls": line} for marker, line in ("o-", "s:") for color in COLORS
]
MIN_RECALL = 0.5


def lab_curves(rows: Sequence[LabRow]) -> Figure:
    """Draw recall above a half against queries per second: a curve per index, the chosen point larger."""
    figure, (axes,) = make_figure(10, 6, 1)
    k = max(rows[0].recall_at)
    for row, look in zip(rows, itertools.cycle(STYLES), strict=False):
        shown = [point for point in row.points if point.recall >= MIN_RECALL or point is row.chosen]
        rates = [point.queries_per_second for point in shown]
        axes.plot(rates, [point.recall for point in shown], lw=2, ms=4, label=row.name, **look)
        axes.plot(row.chosen.queries_per_second, row.chosen.recall, ms=10, **look)
    set_log_scale(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k"))
    axes.set(xlabel="queries per second, one thread", ylabel=f"recall@{k} against exact search")
    figure.legend(loc="outside right upper", **LEGEND)
    return figure


def lab_memory(rows: Sequence[LabRow]) -> Figure:
    """Draw recall at the chosen points against bytes per item."""
    figure, (axes,) = make_figure(10, 5, 1)
    k = max(rows[0].recall_at)
    for row, look in zip(rows, itertools.cycle(STYLES), strict=False):
        axes.plot(row.bytes_per_item, row.chosen.recall, ms=10, label=row.name, **{**look, "ls": ""})
    set_log_scale(axes)
    axes.margins(0.1)
    axes.set(xlabel="bytes per item", ylabel=f"recall@{k} at the chosen search")
    figure.legend(loc="outside right upper", **LEGEND)
    return figure
