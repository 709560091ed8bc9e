"""Axes of a sweep, and the search space that they span, converted to and from Optuna."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twotower.config.problems import Problem, raise_problems

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Axis:
    """A varied key with its values or interval.

    Attributes:
        key: as on the command line, e.g. `loss` or `optimizer.learning_rate`.
        choices: values as typed after `key=`; empty for an interval.
        low: lower end of an interval.
        high: upper end, included.
        is_int: whether the values of the interval are integers.
        is_log: whether the scale is logarithmic.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    is_int: bool = False
    is_log: bool = False

    def texts(self) -> list[str]:
        """Return `key=value` for each choice."""
        return [f"{self.key}={value}" for value in self.choices]

    def ends(self) -> tuple[float, float]:
        """Return the ends of an interval."""
        assert self.low is not None
        assert self.high is not None
        return (int(self.low), int(self.high)) if self.is_int else (self.low, self.high)


class Space:
    """The space of a search.

    Listed numbers are searched by rank, so that 64 lies between 32 and 128. Other choices have no order.

    Args:
        axes: varied keys; their order does not matter.

    Raises:
        InputError: an axis has no values to search.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        raise_problems((problem for axis in axes for problem in _problems(axis)), "the keys of this search")
        self.axes = [
            dataclasses.replace(axis, choices=_in_order(axis.choices))
            for axis in sorted(axes, key=lambda axis: axis.key)
        ]
        self.values = {axis.key: _values(axis) for axis in self.axes}

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution of each key."""
        return {axis.key: _distribution(axis) for axis in self.axes}

    def texts(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the overrides of a trial's parameters."""
        return tuple(f"{axis.key}={_text(axis, params[axis.key])}" for axis in self.axes)

    def corners(self) -> list[tuple[str, ...]]:
        """Return corners: each choice or end of one axis, and the first and the last of all axes."""
        ends = [_extremes(axis) for axis in self.axes]
        first, last = [each[0] for each in ends], [each[-1] for each in ends]
        single = [[*first[:axis], end, *first[axis + 1 :]] for axis, each in enumerate(ends) for end in each]
        keys = [axis.key for axis in self.axes]
        corners = (self.texts(dict(zip(keys, each, strict=True))) for each in [first, *single, last])
        return list(dict.fromkeys(corners))

    def size(self) -> int | None:
        """Return the number of different trials; None if it is infinite."""
        sizes = [len(values) for values in self.values.values() if values is not None]
        return math.prod(sizes) if len(sizes) == len(self.axes) else None

    def every(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters of every trial of a finite space."""
        for combination in itertools.product(*(values or () for values in self.values.values())):
            yield dict(zip(self.values, combination, strict=True))

    def record(self) -> dict[str, str]:
        """Return key -> text of the axis, for comparison with another space."""
        return {axis.key: ",".join(axis.choices) or _words(axis) for axis in self.axes}


def _problems(axis: Axis) -> Iterator[Problem]:
    if axis.key == "seed":
        message = (
            "a search over seeds finds a lucky seed; search with one, then repeat the best trial with seeds=5"
        )
        yield Problem(axis.key, message)
    if axis.choices:
        return
    if axis.low is None or axis.high is None or not (math.isfinite(axis.low) and math.isfinite(axis.high)):
        yield Problem(axis.key, "expected values or an interval with two ends, as in interval(0.1, 0.9)")
    elif axis.low >= axis.high:
        message = f"the interval from {axis.low} to {axis.high} is empty; put the lower end first"
        yield Problem(axis.key, message)
    elif axis.is_log and axis.low <= 0:
        yield Problem(axis.key, f"a logarithmic scale cannot contain {axis.low}; start above 0")


def _numbers(texts: Sequence[str]) -> dict[str, float]:
    """Return text -> number, or nothing unless all are numbers."""
    try:
        numbers = {text: float(text) for text in texts}
    except ValueError:
        return {}
    return numbers if all(map(math.isfinite, numbers.values())) else {}


def _in_order(choices: Sequence[str]) -> tuple[str, ...]:
    texts = tuple(dict.fromkeys(choices))
    numbers = _numbers(texts)
    return tuple(sorted(texts, key=numbers.__getitem__)) if numbers else texts


def _values(axis: Axis) -> Sequence[Any] | None:
    """Return all values that Optuna may propose, None for an interval of floats."""
    if axis.choices:
        return range(len(axis.choices)) if _numbers(axis.choices) else axis.choices
    low, high = axis.ends()
    return range(int(low), int(high) + 1) if axis.is_int else None


def _extremes(axis: Axis) -> Sequence[Any]:
    if axis.choices:
        return (0, len(axis.choices) - 1) if _numbers(axis.choices) else axis.choices
    return axis.ends()


def _distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        numbers = _numbers(axis.choices)
        return IntDistribution(0, len(numbers) - 1) if numbers else CategoricalDistribution(axis.choices)
    low, high = axis.ends()
    if axis.is_int:
        return IntDistribution(int(low), int(high), log=axis.is_log)
    return FloatDistribution(low, high, log=axis.is_log)


def _text(axis: Axis, value: Any) -> str:
    if axis.choices:
        return axis.choices[int(value)] if _numbers(axis.choices) else str(value)
    if axis.is_int:
        return str(value)
    low, high = axis.ends()
    rounded = repr(float(f"{value:.6g}"))  # 16.0, not 16, which an integer key would accept
    return rounded if low <= float(rounded) <= high else repr(min(max(value, low), high))


def _words(axis: Axis) -> str:
    low, high = axis.ends()
    return f"{'log ' if axis.is_log else ''}{'int ' if axis.is_int else ''}interval({low}, {high})"
