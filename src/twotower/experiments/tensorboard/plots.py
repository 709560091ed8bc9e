"""Plots of a run and of a sweep, readable on light and dark pages and at small sizes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from twotower.experiments.runs.outcome import Point, front
from twotower.experiments.runs.result_parts import FeatureImportance, NewItemCurve

GREY, BLUE, ORANGE = "#8a8a8a", "#2f7ed8", "#e8710a"
COLORS = (BLUE, ORANGE, "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
TEXT_SIZE, LABEL_SIZE = 13, 12
LABEL: dict[str, Any] = {"textcoords": "offset points", "fontsize": LABEL_SIZE}
LEGEND: dict[str, Any] = {"frameon": False, "labelcolor": GREY, "fontsize": TEXT_SIZE}
MAX_NUMBERED = 20


def recall_versus_latency(
    points: list[dict[str, Any]], target_recall: float, chosen: Mapping[str, Any]
) -> Figure:
    """Draw a point per setting of the search arguments, the chosen one marked, and the target as a line.

    The legend names the chosen one, labels the first and the last one: the others may be too close.
    """
    # Every run draws one, and a layout takes as long as the drawing.
    figure, (axes,) = make_figure(7, 4.5, 1, layout=None)
    figure.subplots_adjust(left=0.13, right=0.97, bottom=0.15, top=0.96)
    # In the order they were tried, from fastest to most thorough: measured latencies may cross.
    axes.plot([p["latency_ms"] for p in points], [p["recall"] for p in points], "o-", color=BLUE, lw=2)
    names = [
        ", ".join(f"{key} {value}" for key, value in p["search_args"].items()) or "exact" for p in points
    ]
    for point, name in zip(points, names, strict=True):
        if point["search_args"] == dict(chosen):
            look: dict[str, Any] = {"ms": 12, "color": ORANGE, "label": f"in use: {name}"}
            axes.plot(point["latency_ms"], point["recall"], "o", **look)
    for at, offset, side in ((0, (8, -16), "left"), (-1, (0, 10), "right"))[: len(points)]:
        place = points[at]["latency_ms"], points[at]["recall"]
        axes.annotate(names[at], place, offset, ha=side, color=GREY, **LABEL)
    axes.axhline(target_recall, color=GREY, lw=2, ls="--", label=f"target {target_recall:g}")
    axes.set(xlabel="latency of one query, ms", ylabel="recall against exact search")
    if len(points) > 1:
        set_log_scale(axes)
        axes.margins(0.15)
    else:
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, 1.3 * points[0]["latency_ms"])
    axes.legend(loc="lower right", **LEGEND)
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
    fronts = {label: front(list(zip(of, rank_values, strict=True))) for label, of in costs.items()}
    named = sorted({i for best in fronts.values() for i in best}, key=rank_values.__getitem__)
    numbers = {position: str(rank + 1) for rank, position in enumerate(named[:MAX_NUMBERED])}
    lines = [f"{number}   {points[i].name}" for i, number in numbers.items()]
    if len(named) > MAX_NUMBERED:
        lines.append(f"and {len(named) - MAX_NUMBERED} more")
    figure, panels = make_figure(12, 5 + 0.24 * len(lines), 2)
    for axes, (label, job_costs) in zip(panels, costs.items(), strict=True):
        best = fronts[label]
        axes.plot(job_costs, values, "o", color=BLUE, ms=8, label="job")
        look: dict[str, Any] = {"color": ORANGE, "ms": 8, "lw": 2, "where": "post"}
        look["label"] = "no job is both better and cheaper"
        axes.step([job_costs[i] for i in best], [values[i] for i in best], "o-", **look)
        for i in (i for i in best if i in numbers):
            axes.annotate(numbers[i], (job_costs[i], values[i]), (8, -14), color=ORANGE, **LABEL)
        set_log_scale(axes)
        axes.set_xlabel(label)
        axes.margins(0.12)
    panels[0].set_ylabel(objective)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, **LEGEND)
    figure.supxlabel("\n".join(lines), x=0.02, ha="left", color=GREY, size=LABEL_SIZE)
    return figure


def feature_importance(importance: FeatureImportance) -> Figure:
    """Draw the drop of the metric by feature, the largest first: a panel for all users and each other part.

    A bar ends at the mean over permutations; its line has the length of two standard deviations.
    """
    names, parts = importance.ranked()[::-1], list(importance.values)
    figure, panels = make_figure(3 + 2.6 * len(parts), 1.6 + 0.4 * len(names), len(parts))
    for axes, part in zip(panels, parts, strict=True):
        drops = [importance.drops[name][part] for name in names]
        means, spreads = ([float(value or 0.0) for value in column] for column in zip(*drops, strict=True))
        axes.barh(range(len(names)), means, xerr=spreads, color=BLUE, ecolor=ORANGE, height=0.6)
        axes.axvline(0, color=GREY, lw=1)
        axes.set_yticks(range(len(names)), names if part == parts[0] else [])
        axes.xaxis.set_major_locator(MaxNLocator(3))
        title = (
            f"{part.replace('_', ' ')}: {importance.values[part]:.4f}\n{importance.num_users[part]:,} users"
        )
        axes.set_title(title, color=GREY, size=LABEL_SIZE)
    metric = importance.metric.replace("_at_", "@")
    figure.supxlabel(f"drop of {metric} with permuted values", color=GREY, size=TEXT_SIZE)
    return figure


def new_item_curve(curve: NewItemCurve) -> Figure:
    """Draw recall on new items against recall on known items, a point per boost."""
    points = [each for each in curve.curve if "new" in each]
    figure, (axes,) = make_figure(7, 5, 1)
    known, new = ([each[part] for each in points] for part in ("known", "new"))
    axes.plot(known, new, "o-", color=BLUE, ms=8, lw=2, label="new_items.boost")
    own = curve.own()
    for each in points:
        look: dict[str, Any] = {"ha": "right", "color": ORANGE} if each is own else {"color": BLUE}
        offset = (-10, -10) if each is own else (8, 4)
        axes.annotate(f"{each['boost']:g}", (each["known"], each["new"]), offset, **look, **LABEL)
    axes.plot([own["known"]], [own["new"]], "o", color=ORANGE, ms=12, label="this run")
    axes.axvline(curve.without["known"], color=GREY, lw=1, ls="--", label="without new items")
    metric = curve.metric.replace("_at_", "@")
    axes.set(xlabel=f"{metric} on known items (validation)", ylabel=f"{metric} on new items")
    axes.margins(0.1)
    figure.legend(loc="outside upper left", ncols=3, **LEGEND)
    return figure


def to_png(figure: Figure) -> tuple[bytes, int, int]:
    """Return a figure as PNG with a transparent background, its width and its height."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    width, height = figure.canvas.get_width_height()
    return buffer.getvalue(), width, height


def make_figure(
    width: float, height: float, num_panels: int, layout: Literal["constrained"] | None = "constrained"
) -> tuple[Figure, list[Axes]]:
    """Return a transparent figure with panels side by side, whose texts are grey."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="none")
    panels = [figure.add_subplot(1, num_panels, at + 1, facecolor="none") for at in range(num_panels)]
    for axes in panels:
        axes.tick_params(colors=GREY, which="both", labelsize=LABEL_SIZE)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=GREY, size=TEXT_SIZE)
    return figure, panels


def set_log_scale(axes: Axes) -> None:
    """Make the x axis logarithmic, with few labels."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high / low > 4 else tuple(float(i) for i in range(1, 10))
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
