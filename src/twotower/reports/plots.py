"""Plots of a run and of a sweep, readable on light and dark pages and at small sizes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator
from matplotlib.transforms import Bbox

from twotower.reports.pareto import Point, front

GREY, BLUE, ORANGE = "#8a8a8a", "#2f7ed8", "#e8710a"
TEXT_SIZE, LABEL_SIZE = 13, 12
PLACES = ((8, -14), (8, 6), (-8, 6), (-8, -14))
"""Offsets of a label from its point, in points; a negative first number means right-aligned."""

MOST_NUMBERED = 20
Label = tuple[float, float, str, str]
"""x, y, text, color."""


def recall_versus_latency(
    points: list[dict[str, Any]], target_recall: float, chosen: Mapping[str, Any]
) -> Figure:
    """Draw a point per setting of the search arguments, the chosen one marked, and the target as a line."""
    figure = _figure(7, 4.5, None)  # its margins fit every such curve; to find them takes three drawings
    figure.subplots_adjust(0.14, 0.14, 0.98, 0.97)
    axes = _axes(figure, 1, 1)
    # In the order they were tried, from fastest to most thorough: measured latencies may cross.
    axes.plot([p["latency_ms"] for p in points], [p["recall"] for p in points], "o-", color=BLUE, lw=2)
    labels: list[Label] = []
    for point in points:
        text = ", ".join(f"{key} {value}" for key, value in point["search_args"].items()) or "exact"
        if point["search_args"] == dict(chosen):
            axes.plot(point["latency_ms"], point["recall"], "o", ms=12, color=ORANGE, label="in use")
            labels.insert(0, (point["latency_ms"], point["recall"], text, ORANGE))
        else:
            labels.append((point["latency_ms"], point["recall"], text, GREY))
    axes.axhline(target_recall, color=GREY, lw=2, ls="--", label=f"target {target_recall:g}")
    axes.set_xlabel("latency of one query, ms", color=GREY, size=TEXT_SIZE)
    axes.set_ylabel("recall against exact search", color=GREY, size=TEXT_SIZE)
    if len(points) > 1:
        _log(axes)
        axes.margins(0.15)
    else:
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    axes.legend(frameon=False, labelcolor=GREY, fontsize=TEXT_SIZE, loc="lower right")
    _place_labels(figure, axes, labels)
    return figure


def pareto(points: Sequence[Point], objective: str) -> Figure:
    """Draw the objective of a sweep's jobs against latency and against bytes.

    The jobs of each Pareto front are connected, numbered from the best on, and named below.
    """
    values = [point.value for point in points]
    rank_values = [point.rank_value for point in points]
    costs = {
        "latency of one query, ms (median)": [point.latency_ms for point in points],
        "bytes an item": [point.bytes_per_item for point in points],
    }
    fronts = {label: front(job_costs, rank_values) for label, job_costs in costs.items()}
    named = sorted({i for best in fronts.values() for i in best}, key=lambda i: -rank_values[i])
    number = {position: str(rank + 1) for rank, position in enumerate(named)}
    lines = [f"{number[i]}   {points[i].name}" for i in named[:MOST_NUMBERED]]
    if len(named) > MOST_NUMBERED:
        lines.append(f"and {len(named) - MOST_NUMBERED} more")
    figure = _figure(12, 5 + 0.24 * len(lines))
    for column, (label, job_costs) in enumerate(costs.items()):
        best = fronts[label]
        axes = _axes(figure, 2, column + 1)
        axes.plot(job_costs, values, "o", color=BLUE, ms=8, label="job")
        style: dict[str, Any] = {
            "color": ORANGE,
            "ms": 8,
            "lw": 2,
            "label": "no job is both better and cheaper",
        }
        axes.step([job_costs[i] for i in best], [values[i] for i in best], "o-", where="post", **style)
        _log(axes)
        axes.set_xlabel(label, color=GREY, size=TEXT_SIZE)
        axes.set_ylabel(objective if column == 0 else "", color=GREY, size=TEXT_SIZE)
        axes.margins(0.12)
        if column == 0:
            look: dict[str, Any] = {"frameon": False, "labelcolor": GREY, "fontsize": TEXT_SIZE}
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, **look)
            figure.supxlabel("\n".join(lines), x=0.02, ha="left", color=GREY, size=LABEL_SIZE)
        shown = [i for i in best if i in named[:MOST_NUMBERED]]
        _place_labels(figure, axes, [(job_costs[i], values[i], number[i], ORANGE) for i in shown])
    return figure


def to_png(figure: Figure) -> tuple[bytes, int, int]:
    """Return a figure as PNG with a transparent background, its width and its height."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    width, height = figure.canvas.get_width_height()
    return buffer.getvalue(), width, height


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), layout=layout, facecolor="none")
    FigureCanvasAgg(figure)  # otherwise every measurement of a text creates a canvas
    return figure


def _axes(figure: Figure, columns: int, column: int) -> Axes:
    axes = figure.add_subplot(1, columns, column, facecolor="none")
    axes.tick_params(colors=GREY, which="both", labelsize=LABEL_SIZE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    return axes


def _log(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high / low > 4 else tuple(float(i) for i in range(1, 10))
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _place_labels(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Write labels next to their points, in order; a label that would cover another is left out."""
    axes.autoscale_view()
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    taken: list[Bbox] = []
    for x, y, text, color in labels:
        for across, up in PLACES:
            label = axes.annotate(
                text,
                (x, y),
                textcoords="offset points",
                xytext=(across, up),
                ha="left" if across > 0 else "right",
                fontsize=LABEL_SIZE,
                color=color,
            )
            label.set_in_layout(False)
            box = label.get_window_extent()
            fits = axes.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
            fits = fits and axes.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()
