"""The figures, by what is drawn where."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from twotower.experiments.runs.outcome import Outcome, Point, front, pareto_front, pareto_points
from twotower.experiments.tensorboard.plots import pareto, recall_versus_latency, to_png

CROWDED = [
    {"search_args": {"nprobe": nprobe}, "recall": recall, "latency_ms": latency}
    for nprobe, recall, latency in (
        (1, 0.40, 0.010),
        (2, 0.66, 0.020),
        (4, 0.90, 0.030),
        (8, 0.990, 0.0300),
        (12, 0.994, 0.0310),
        (16, 0.996, 0.0312),
        (24, 0.997, 0.0313),
        (32, 0.998, 0.0314),
    )
]


def labels_of(figure: Figure, panel: int = 0) -> dict[str, Annotation]:
    return {each.get_text(): each for each in figure.axes[panel].texts if isinstance(each, Annotation)}


def test_the_ends_of_a_curve_and_the_setting_in_use_are_named() -> None:
    figure = recall_versus_latency(CROWDED, 0.99, {"nprobe": 16})
    to_png(figure)
    labels = labels_of(figure)
    assert labels.keys() == {"nprobe 1", "nprobe 32"}
    for label in labels.values():
        box = label.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["in use: nprobe 16", "target 0.99"]
    # One point is drawn from zero.
    figure = recall_versus_latency([{"search_args": {}, "recall": 1.0, "latency_ms": 0.05}], 1.0, {})
    (axes,) = figure.axes
    assert (axes.get_xlim()[0], axes.get_ylim()[0]) == (0, 0)
    assert list(labels_of(figure)) == ["exact"]


def test_the_background_is_clear(tmp_path: Path) -> None:
    png, width, height = to_png(recall_versus_latency(CROWDED, 0.99, {"nprobe": 16}))
    (tmp_path / "figure.png").write_bytes(png)
    with Image.open(tmp_path / "figure.png") as image:
        assert image.mode == "RGBA"
        assert image.size == (width, height)
        assert image.getpixel((0, 0))[3] == 0  # type: ignore[index]


def points(*values: tuple[str, float, float, float]) -> list[Point]:
    return [Point(*value) for value in values]


def test_the_pareto_front_is_joined_numbered_and_named() -> None:
    jobs = points(
        ("quick", 0.2, 0.01, 256),
        ("small", 0.25, 0.04, 32),
        ("best", 0.3, 0.02, 512),
        ("bad", 0.1, 0.03, 600),
    )
    figure = pareto(jobs, "recall@20")
    (names,) = [each for each in figure.texts if "quick" in each.get_text()]
    assert names.get_text().split("\n") == ["1   best", "2   small", "3   quick"]
    for panel, (costs, numbers) in enumerate((([0.01, 0.02], {"1", "3"}), ([32, 512], {"1", "2"}))):
        joined = figure.axes[panel].lines[1]
        assert list(joined.get_xdata()) == costs  # type: ignore[arg-type]
        assert labels_of(figure, panel).keys() == numbers
        assert len(figure.axes[panel].lines[0].get_xdata()) == 4  # type: ignore[arg-type]


def test_of_many_jobs_the_best_are_numbered_and_named() -> None:
    points = [Point(f"{i:04d}_dim64_lr.01", (i + 1) / 45, (i + 1) / 45, i + 1.0) for i in range(45)]
    figure = pareto(points, "recall@20")
    png, width, height = to_png(figure)
    assert png.startswith(b"\x89PNG")
    assert (width, height < 1100) == (1200, True)
    assert to_png(pareto(points[:1], "recall@20"))[1] == 1200
    numbers = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert numbers <= {str(number) for number in range(1, 21)}
    named = figure.get_supxlabel().splitlines()
    assert (named[0], named[20], len(named)) == ("1   0044_dim64_lr.01", "and 25 more", 21)


def test_fronts_by_hand() -> None:
    assert front([(3, -0.5), (1, -0.1), (2, -0.3), (2, -0.4), (4, -0.5)]) == [1, 3, 0]
    assert front([]) == []
    whole = Point("whole", 0.5, 2.0, 256)
    small, quick = Point("small", 0.4, 1.0, 32), Point("quick", 0.4, 0.5, 256)
    beaten = Point("beaten", 0.4, 1.0, 64)  # as good and as quick as the small one, and larger
    lower = Point("lower", 0.4, 2.0, 256, higher_is_better=False)
    assert pareto_front([small, whole, quick, beaten]) == [whole, quick, small]
    assert pareto_front([small, small]) == [small]
    assert pareto_front([lower, Point("higher", 0.5, 2.0, 256, higher_is_better=False)]) == [lower]


def outcome(name: str, valid: float, difference: float, recall: float, status: str = "ok") -> Outcome:
    figures: dict[str, Any] = {
        "best_valid/recall_at_20": valid,
        "index/difference_recall_at_20": difference,
        "index/recall_at_100": recall,
        "index/latency_ms_p50": 0.1,
        "index/bytes_per_item": 64.0,
    }
    return Outcome(name, status, 1.0, figures, None, Path(name), None, False)


def test_jobs_are_compared_by_the_metric_through_their_index() -> None:
    metric = "valid/recall_at_20"
    same = [outcome("a", 0.5, -0.125, 0.75), outcome("b", 0.5, 0.0, 1.0)]
    words, found = pareto_points(
        [*same, outcome("c", 0.25, -0.125, 0.5), outcome("d", 1, 0, 1, "pruned")], metric
    )
    assert words == "recall@20 on valid, through the index"
    assert [point.value for point in found] == [0.375, 0.5, 0.125]


def test_front_of_a_metric_whose_lower_values_are_better() -> None:
    def job(name: str, valid: float, latency: float) -> Outcome:
        figures = {
            "best_valid/gini_at_20": valid,
            "index/latency_ms_p50": latency,
            "index/bytes_per_item": 64.0,
        }
        higher_is_better = {"gini": False}
        return Outcome(
            name, "ok", 1.0, figures, None, Path(name), None, False, higher_is_better=higher_is_better
        )

    words, found = pareto_points(
        [job("a", 0.5, 0.1), job("b", 0.25, 0.2), job("c", 0.75, 0.3)], "valid/gini_at_20"
    )
    assert words == "gini@20 on valid, by exact search (lower is better)"
    assert [point.value for point in found] == [0.5, 0.25, 0.75]
    assert [point.name for point in pareto_front(found)] == ["b", "a"]


def test_jobs_without_the_figure_are_left_out() -> None:
    failed = Outcome("a", "failed", 1.0, {}, None, Path("a"), "no", False)
    assert pareto_points([failed], "valid/recall_at_20")[1] == []
    two = [outcome("b", 0.5, 0, 1), outcome("c", 0.25, 0, 1)]
    assert pareto_points(two, "valid/ndcg_at_20")[1] == []
