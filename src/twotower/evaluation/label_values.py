"""Values of metrics of labels under their keys, and the intervals of these."""

from collections.abc import Sequence

import numpy as np

from twotower.evaluation.user_values import Z_95
from twotower.metrics.label_metric import LabelMetric, Scored


def label_values(metrics: Sequence[LabelMetric], scored: Scored | None) -> dict[str, float]:
    """Return name -> value of each metric that is defined for these examples."""
    values = {metric.name: metric.value(scored) for metric in metrics if scored is not None}
    return {name: value for name, value in values.items() if value is not None}


def label_intervals(metrics: Sequence[LabelMetric], scored: Scored | None) -> dict[str, list[float]]:
    """Return name -> [low, high], the 95 % interval over users of each metric with an influence function.

    It is the value +- 1.96 standard errors, from how far each user moves it.

    Reference: Deng, Knoblich and Lu, Applying the Delta Method in Metric Analytics, KDD 2018, section 2.
    """
    intervals = {}
    for metric in metrics:
        value = None if scored is None else metric.value(scored)
        influence = None if scored is None or value is None else metric.influence(scored)
        if value is None or influence is None or len(influence) < 2:
            continue
        half = Z_95 * np.sqrt((influence**2).sum() * len(influence) / (len(influence) - 1))
        intervals[metric.name] = [float(value - half), float(value + half)]
    return intervals
