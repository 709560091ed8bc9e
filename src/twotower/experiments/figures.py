"""Figures of a run and of a sweep, drawn to read on a light and on a dark page."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twotower.experiments.pareto import Point, front

GREY, BLUE, ORANGE = "#8a8a8a", "#2f7ed8", "#e8710a"
LABEL_SIZE = 9


def recall_versus_latency(
    points: list[dict[str, Any]], target_recall: float, chosen: Mapping[str, Any]
) -> Figure:
    """Draw one point a setting of the search arguments, the chosen one marked.

    Args:
        points: each with `search_args`, `recall` and `latency_ms`.
        target_recall: drawn as a line.
        chosen: the search arguments in use.
    """
    figure, (axes,) = _figure(1, (7, 4.5))
    # In the order they were tried, from fastest to most thorough: measured latencies may cross.
    axes.plot([p["latency_ms"] for p in points], [p["recall"] for p in points], "o-", color=BLUE, lw=1)
    labels = []
    for point in points:
        in_use = point["search_args"] == dict(chosen)
        text = ", ".join(f"{key} {value}" for key, value in point["search_args"].items()) or "exact"
        labels.append((point["latency_ms"], point["recall"], text, ORANGE if in_use else GREY))
        if in_use:
            axes.plot(point["latency_ms"], point["recall"], "o", ms=10, color=ORANGE, label="in use")
    axes.axhline(target_recall, color=GREY, lw=1, ls="--", label=f"target {target_recall:g}")
    axes.set_xlabel("latency of one query, ms", color=GREY)
    axes.set_ylabel("recall against exact search", color=GREY)
    axes.set_ylim(top=1.02)
    if len(points) > 1:
        axes.set_xscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    axes.legend(frameon=False, labelcolor=GREY, loc="best")
    _label(figure, axes, labels)
    return figure


def pareto(points: Sequence[Point], objective: str) -> Figure:
    """Draw what the jobs of a sweep reach against latency and against bytes, the best of each cost marked.

    Args:
        points: one a job.
        objective: what `Point.value` is, in words.
    """
    figure, both = _figure(2, (12, 5))
    values = [point.value for point in points]
    for axes, costs, words in (
        (both[0], [point.latency_ms for point in points], "latency of one query, ms (median)"),
        (both[1], [point.bytes_per_item for point in points], "bytes an item"),
    ):
        best = front(costs, values)
        axes.plot(costs, values, "o", color=BLUE, alpha=0.6, label="job")
        axes.plot(
            [costs[i] for i in best],
            [values[i] for i in best],
            "o-",
            color=ORANGE,
            lw=1,
            label="Pareto front: none is both better and cheaper",
        )
        axes.set_xscale("log")
        axes.set_xlabel(words, color=GREY)
        axes.set_ylabel(objective, color=GREY)
        axes.margins(0.12)
        _label(figure, axes, [(costs[i], values[i], points[i].name, ORANGE) for i in best])
    both[0].legend(frameon=False, labelcolor=GREY, loc="best")
    return figure


def _figure(columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    found = []
    for column in range(columns):
        axes = figure.add_subplot(1, columns, column + 1, facecolor="none")
        axes.tick_params(colors=GREY, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        found.append(axes)
    return figure, found


def _label(figure: Figure, axes: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    for x, y, text, color in labels:
        axes.annotate(
            text, (x, y), textcoords="offset points", xytext=(6, -12), fontsize=LABEL_SIZE, color=color
        )
