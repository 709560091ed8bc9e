"""The main effect of each varied key on a metric, from runs that differ in this key alone."""

import itertools
from collections.abc import Mapping
from statistics import fmean

from twotower.experiments.compare.figure_names import format_figure


def main_effects(
    settings: Mapping[str, Mapping[str, str]], scores: Mapping[str, float], metric: str, is_lower_better: bool
) -> list[str]:
    """Return a line per key, the largest effect first: its best value against each other one.

    A difference is the mean over pairs of runs that differ in this key alone, with the number of pairs that
    have its sign. Keys without a pair are left out.

    Args:
        settings: key -> run -> value.
        scores: run -> value of the metric.
    """
    sign = -1 if is_lower_better else 1
    lines: list[tuple[float, str]] = []
    for key in settings.keys() - {"seed"}:
        groups: dict[tuple[str, ...], list[tuple[str, float]]] = {}
        for run, score in scores.items():
            others = tuple(values[run] for other, values in settings.items() if other != key)
            groups.setdefault(others, []).append((settings[key][run], score))
        gains: dict[str, dict[str, list[float]]] = {}  # value -> other value -> differences
        pairs = itertools.chain.from_iterable(itertools.permutations(each, 2) for each in groups.values())
        for (value, score), (other, other_score) in pairs:
            if value != other:
                gains.setdefault(value, {}).setdefault(other, []).append(score - other_score)
        if not gains:
            continue
        best = max(gains, key=lambda value: sign * fmean(itertools.chain(*gains[value].values())))
        size = max(abs(fmean(each)) for each in gains[best].values())
        parts = [_part(other, differences, metric) for other, differences in gains[best].items()]
        lines.append((size, f"{key}={best}  {', '.join(parts)}"))
    return [line for _, line in sorted(lines, key=lambda each: (-each[0], each[1]))]


def _part(other: str, differences: list[float], metric: str) -> str:
    mean = fmean(differences)
    if not any(differences):
        return f"equal to {other} in all {len(differences)} pairs"
    agreeing = sum(difference * mean > 0 for difference in differences)
    difference = format_figure(metric, mean, sign=True)
    return f"{difference} against {other} ({agreeing} of {len(differences)} pairs agree)"
