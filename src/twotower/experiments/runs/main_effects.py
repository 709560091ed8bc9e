"""The main effect of each varied key on a metric, from runs that differ in this key alone."""

import itertools
from collections.abc import Iterator, Mapping
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
        pairs: dict[tuple[str, str], list[float]] = {}
        for (value, score), (other, other_score) in _matched(key, settings, scores):
            pairs.setdefault((value, other), []).append(score - other_score)
        if not pairs:
            continue
        values = dict.fromkeys(value for value, _ in pairs)
        gains = {value: fmean(itertools.chain(*_against(value, pairs).values())) for value in values}
        best = max(gains, key=lambda value: sign * gains[value])
        against = _against(best, pairs)
        size = max(abs(fmean(each)) for each in against.values())
        parts = [_part(other, differences, metric) for other, differences in against.items()]
        lines.append((size, f"{key}={best}  {', '.join(parts)}"))
    return [line for _, line in sorted(lines, key=lambda each: (-each[0], each[1]))]


def _matched(
    key: str, settings: Mapping[str, Mapping[str, str]], scores: Mapping[str, float]
) -> Iterator[tuple[tuple[str, float], tuple[str, float]]]:
    """Yield (value, score) of both runs of each pair that differs in this key alone, in both orders."""
    groups: dict[tuple[str, ...], list[tuple[str, float]]] = {}
    for run, score in scores.items():
        others = tuple(values[run] for other, values in settings.items() if other != key)
        groups.setdefault(others, []).append((settings[key][run], score))
    for group in groups.values():
        yield from (pair for pair in itertools.permutations(group, 2) if pair[0][0] != pair[1][0])


def _against(value: str, pairs: Mapping[tuple[str, str], list[float]]) -> dict[str, list[float]]:
    return {other: differences for (one, other), differences in pairs.items() if one == value}


def _part(other: str, differences: list[float], metric: str) -> str:
    mean = fmean(differences)
    if not any(differences):
        return f"equal to {other} in all {len(differences)} pairs"
    agreeing = sum(difference * mean > 0 for difference in differences)
    difference = format_figure(metric, mean, sign=True)
    return f"{difference} against {other} ({agreeing} of {len(differences)} pairs agree)"
