"""Which baseline a run is behind on its validation split, by the metric that chose the epoch."""

from dataclasses import dataclass

from twotower.runs.directions import higher_is_better
from twotower.runs.result import VALID, Result


@dataclass(frozen=True)
class Behind:
    """A baseline that is ahead of the towers.

    Attributes:
        baseline: its name.
        metric: as `valid/recall_at_20`.
        its: figure.
        ours: the towers'.
    """

    baseline: str
    metric: str
    its: float
    ours: float

    def __str__(self) -> str:
        metric = self.metric.removeprefix(VALID).replace("_at_", "@")
        return (
            f"on the validation split the baseline {self.baseline} is ahead of the towers: {metric} "
            f"{self.its:.4f} against {self.ours:.4f}"
        )


def behind(result: Result) -> Behind | None:
    """Return the best baseline on the validation split if the towers are behind it; None if they are not.

    Nor where the metric says nothing of baselines, as those of labels, or the towers were not validated.
    """
    metric = result.training.monitor
    ours = result.metrics.get(metric)
    figures = {name: values[metric] for name, values in result.baselines.items() if metric in values}
    if ours is None or not figures:
        return None
    sign = -1 if higher_is_better(metric, [result.higher_is_better]) is False else 1
    best = max(figures, key=lambda name: sign * figures[name])
    return Behind(best, metric, figures[best], ours) if sign * figures[best] > sign * ours else None
