"""Search of the settings of initial embeddings on the validation split."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.user_values import exceeds

LOG = logging.getLogger("twotower")
SCALES = (0.5, 1.0, 2.0, 4.0)
MAX_EXTENSIONS = 5
"""Number of scales beyond the first ones, each by a factor of 2: of `SCALES`, at most 128, at least 1/64."""
AT_THE_EDGE = (
    "initialization.score_scale=%.3g has the best validation score and is the lowest or highest "
    "value tried, %.3g to %.3g; set initialization.score_scale=VALUE for a value beyond"
)
SCALE, POWER, EXPONENT = "initialization.score_scale", "initialization.count_power", "item_bias.exponent"
DIRECTIONS = {
    EXPONENT: ((2.0, 4.0), (0.5, 0.25)),
    POWER: ((0.75, 1.0), (0.25, 0.0)),
}
"""Values of both directions from the default outward, of the settings in the order of the search."""
STANDARD_ERRORS = 2.0
"""By this many standard errors a value must be better than the default, because many values are tried."""
Settings = Mapping[str, float]


class Trial(NamedTuple):
    """The validation of some settings.

    Attributes:
        score: the monitored metric, negated if lower is better.
        values: the same by user; None for a metric without values of users.
    """

    settings: Settings
    score: float
    values: NDArray[np.float64] | None = None

    def exceeds(self, other: "Trial") -> bool:
        """Return whether it is better than another one by `STANDARD_ERRORS`."""
        if self.score <= other.score or self.values is None or other.values is None:
            return self.score > other.score
        return exceeds(self.values - other.values, STANDARD_ERRORS)


Validate = Callable[[Settings, bool], Trial]
"""Validates settings; with True, new items are embedded again, which takes most of the time."""


def search_settings(start: Settings, fixed: Collection[str], validate: Validate, budget: int) -> Settings:
    """Return the best settings: one after the other, from the value of `start` outward.

    A direction ends with the first value that is not better than the one before; the second one is tried if
    the first has no better value. Each value is validated at the scale that is best with it, unless the scale
    is fixed.

    Args:
        fixed: settings that are not searched.
        budget: maximum number of validations.
    """
    best = validate(start, False)
    used = 1

    def best_scale_of(settings: Settings) -> Trial:
        nonlocal used
        trials: dict[float, Trial] = {}

        def score(scale: float) -> float:
            trials[scale] = validate({**settings, SCALE: scale}, False)
            return trials[scale].score

        scale = settings[SCALE]
        scores = search_score_scales(score, (scale,) if SCALE in fixed else (scale, 2 * scale))
        used += len(trials)
        return trials[best_scale(scores)]

    for key in (key for key in DIRECTIONS if key not in fixed):
        for values in DIRECTIONS[key]:
            reached = best
            for value in values:
                trial = best_scale_of({**reached.settings, key: value}) if used < budget else None
                if trial is None or trial.score <= reached.score:
                    break
                reached = trial
            if reached.exceeds(best):
                scores = abs(reached.score), abs(best.score)
                LOG.info("%s=%g: validation score %.4f, from %.4f", key, reached.settings[key], *scores)
                best = reached
                break
    return best.settings


def search_scale(settings: Settings, validate: Validate) -> float:
    """Return the best scale, and warn if it is at the edge of those tried."""
    scores = search_score_scales(lambda scale: validate({**settings, SCALE: scale}, True).score)
    lowest, *_, highest = scores
    scale = best_score_scale(scores)
    LOG.info(
        "initialization.score_scale=%.3g (validation score of the initial embeddings: %s)",
        scale,
        ", ".join(f"{abs(value):.4f} at {scale:g}" for scale, value in scores.items()),
    )
    if scale in (lowest, highest):
        LOG.warning(AT_THE_EDGE, scale, lowest, highest)
    return scale


def search_score_scales(
    score: Callable[[float], float], scales: Sequence[float] = SCALES
) -> dict[float, float]:
    """Return scale -> score in ascending order of the scales, with the best scale between two others.

    Starts with `scales`. While the best scale is the lowest or the highest, the next one beyond it is scored
    too, at most `MAX_EXTENSIONS` times. A single scale is only scored.
    """
    scores = {scale: score(scale) for scale in scales}
    for _ in range(MAX_EXTENSIONS if len(scores) > 1 else 0):
        lowest, *_, highest = scores
        best = best_scale(scores)
        if lowest < best < highest:
            break
        scale = lowest / 2 if best == lowest else highest * 2
        scores = dict(sorted({**scores, scale: score(scale)}.items()))
    return scores


def best_scale(scores: Mapping[float, float]) -> float:
    """Return the scale with the highest score; of equal scores that nearest to 1."""
    return max(scores, key=lambda scale: (scores[scale], -abs(np.log(scale))))


def best_score_scale(scores: Mapping[float, float]) -> float:
    """Return the scale at the vertex of a parabola in log(scale) through the best scale and its neighbors.

    Args:
        scores: of ascending scales with a constant ratio. If the first or the last is highest, its scale is
            returned. Without an item bias all scales have the same ranking; then the scale nearest to 1 is
            the best.
    """
    scales, best = list(scores), best_scale(scores)
    if best in (scales[0], scales[-1]):
        return best
    position = scales.index(best)
    before, here, after = (scores[scale] for scale in scales[position - 1 : position + 2])
    curvature = before + after - 2 * here
    offset = (before - after) / (2 * curvature) if curvature else 0.0
    return float(best * (scales[1] / scales[0]) ** offset)
