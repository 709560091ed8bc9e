"""Figures of a run, drawn to read on a light and on a dark page."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

GREY, BLUE, ORANGE = "#8a8a8a", "#2f7ed8", "#e8710a"


def recall_versus_latency(
    points: list[dict[str, Any]], target_recall: float, chosen: Mapping[str, Any]
) -> Figure:
    """Draw one point a setting of the search arguments, the chosen one marked.

    Args:
        points: each with `search_args`, `recall` and `latency_ms`.
        target_recall: drawn as a line.
        chosen: the search arguments in use.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    # In the order they were tried, from fastest to most thorough: measured latencies may cross.
    axes.plot([p["latency_ms"] for p in points], [p["recall"] for p in points], "o-", color=BLUE, lw=1)
    for point in points:
        in_use = point["search_args"] == dict(chosen)
        label = ", ".join(f"{key} {value}" for key, value in point["search_args"].items()) or "exact"
        axes.annotate(
            label,
            (point["latency_ms"], point["recall"]),
            textcoords="offset points",
            xytext=(6, -12),
            fontsize=9,
            color=ORANGE if in_use else GREY,
        )
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
    axes.tick_params(colors=GREY, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.legend(frameon=False, labelcolor=GREY)
    return figure
