"""What a search varies, in Optuna's terms and back."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twotower.config.problems import Problem, raise_problems
from twotower.sweeps.axis import Axis

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Params = Mapping[str, Any]


class Space:
    """The axes of a search.

    Numbers that are listed are searched as places in their order: a search then knows that 64 lies between
    32 and 128. Other choices have no order.

    Args:
        axes: in any order; the space does not depend on it.

    Raises:
        InputError: an axis is no space to search.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        raise_problems((problem for axis in axes for problem in _problems(axis)), "what this search varies")
        self.axes = sorted(axes, key=lambda axis: axis.key)
        self.choices = {axis.key: _in_order(axis.choices) for axis in self.axes if axis.choices}
        self.ordered = {key for key, texts in self.choices.items() if _numbers(texts) is not None}

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution of each key."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for axis in self.axes:
            if axis.key in self.ordered:
                found[axis.key] = IntDistribution(0, len(self.choices[axis.key]) - 1)
            elif axis.choices:
                found[axis.key] = CategoricalDistribution(self.choices[axis.key])
            else:
                low, high = _ends(axis)
                kind = IntDistribution if axis.is_int else FloatDistribution
                found[axis.key] = kind(low, high, log=axis.is_log)  # type: ignore[arg-type]
        return found

    def texts(self, params: Params) -> tuple[str, ...]:
        """Return the overrides that a trial's parameters stand for."""
        return tuple(f"{axis.key}={self._text(axis, params[axis.key])}" for axis in self.axes)

    def _text(self, axis: Axis, value: Any) -> str:
        if axis.key in self.ordered:
            return self.choices[axis.key][int(value)]
        if axis.choices:
            return str(value)
        low, high = _ends(axis)
        if axis.is_int:
            return str(value)
        rounded = repr(float(f"{value:.6g}"))  # 16.0, not 16, which a key of whole numbers would take
        return rounded if low <= float(rounded) <= high else repr(min(max(value, low), high))

    def corners(self) -> list[tuple[str, ...]]:
        """Return the overrides of corners: each choice and end by itself, and all first and last ones."""
        values = [self._extremes(axis) for axis in self.axes]
        first, last = [texts[0] for texts in values], [texts[-1] for texts in values]
        single = [
            [*first[:place], text, *first[place + 1 :]]
            for place, texts in enumerate(values)
            for text in texts
        ]
        corners = [first, *single, last]
        keys = [axis.key for axis in self.axes]
        return list(
            dict.fromkeys(
                tuple(f"{key}={text}" for key, text in zip(keys, each, strict=True)) for each in corners
            )
        )

    def _extremes(self, axis: Axis) -> list[str]:
        if axis.key in self.ordered:
            return [self.choices[axis.key][0], self.choices[axis.key][-1]]
        return list(self.choices.get(axis.key) or (self._text(axis, end) for end in _ends(axis)))

    def size(self) -> int | None:
        """Return how many different trials there are, or None for a number without end."""
        sizes = [len(list(values)) for axis in self.axes if (values := self._values(axis)) is not None]
        return math.prod(sizes) if len(sizes) == len(self.axes) else None

    def every(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters of every trial of a space that has an end."""
        values = [self._values(axis) or [] for axis in self.axes]
        for combination in itertools.product(*values):
            yield dict(zip((axis.key for axis in self.axes), combination, strict=True))

    def _values(self, axis: Axis) -> Sequence[Any] | None:
        if axis.key in self.ordered:
            return range(len(self.choices[axis.key]))
        if axis.choices:
            return self.choices[axis.key]
        low, high = _ends(axis)
        return range(int(low), int(high) + 1) if axis.is_int else None

    def record(self) -> dict[str, str]:
        """Return key -> a text that is equal for equal axes."""
        return {axis.key: self._words(axis) for axis in self.axes}

    def _words(self, axis: Axis) -> str:
        if axis.choices:
            return ",".join(self.choices[axis.key])
        low, high = _ends(axis)
        return f"{'log ' if axis.is_log else ''}{'int ' if axis.is_int else ''}interval({low}, {high})"


def _problems(axis: Axis) -> Iterator[Problem]:
    if axis.key == "seed":
        message = (
            "a search would only find the luckiest seed; search with one, then repeat the best with seeds=5"
        )
        yield Problem(axis.key, message)
    if axis.choices:
        return
    if axis.low is None or axis.high is None or not (math.isfinite(axis.low) and math.isfinite(axis.high)):
        yield Problem(axis.key, "expected values or an interval with two ends, as in interval(0.1, 0.9)")
    elif axis.low >= axis.high:
        yield Problem(
            axis.key, f"the interval from {axis.low} to {axis.high} is empty; put the lower end first"
        )
    elif axis.is_log and axis.low <= 0:
        yield Problem(axis.key, f"a logarithmic scale has no {axis.low}; start above 0")


def _ends(axis: Axis) -> tuple[float, float]:
    assert axis.low is not None
    assert axis.high is not None
    return (int(axis.low), int(axis.high)) if axis.is_int else (axis.low, axis.high)


def _in_order(choices: Sequence[str]) -> tuple[str, ...]:
    texts = tuple(dict.fromkeys(choices))
    numbers = _numbers(texts)
    return texts if numbers is None else tuple(sorted(texts, key=numbers.__getitem__))


def _numbers(texts: Sequence[str]) -> dict[str, float] | None:
    try:
        numbers = {text: float(text) for text in texts}
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers.values())) else None
