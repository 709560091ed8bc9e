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
        problems = (Problem(axis.key, text) for axis in axes if (text := _problem(axis)))
        raise_problems(problems, "the keys of this search")
        self.axes = [_in_order(axis) for axis in sorted(axes, key=lambda axis: axis.key)]

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution of each key."""
        return {axis.key: _distribution(axis) for axis in self.axes}

    def texts(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the overrides of a trial's parameters."""
        return tuple(f"{axis.key}={_text(axis, params[axis.key])}" for axis in self.axes)

    def corners(self) -> list[tuple[str, ...]]:
        """Return corners: each choice or end of one axis, and the first and the last of all axes."""
        ends = [_corner_values(axis) for axis in self.axes]
        first, last = [each[0] for each in ends], [each[-1] for each in ends]
        single = [[*first[:axis], end, *first[axis + 1 :]] for axis, each in enumerate(ends) for end in each]
        keys = [axis.key for axis in self.axes]
        corners = (self.texts(dict(zip(keys, each, strict=True))) for each in [first, *single, last])
        return list(dict.fromkeys(corners))

    def size(self) -> int | None:
        """Return the number of different trials; None if it is infinite."""
        sizes = [len(values) for axis in self.axes if (values := _values(axis)) is not None]
        return math.prod(sizes) if len(sizes) == len(self.axes) else None

    def every(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters of every trial of a finite space."""
        keys = [axis.key for axis in self.axes]
        for combination in itertools.product(*(_values(axis) or () for axis in self.axes)):
            yield dict(zip(keys, combination, strict=True))

    def record(self) -> dict[str, str]:
        """Return key -> text of the axis, for comparison with another space."""
        kinds = {axis.key: "log " * axis.is_log + "int " * axis.is_int for axis in self.axes}
        return {
            axis.key: ",".join(axis.choices) or f"{kinds[axis.key]}interval{axis.ends()}"
            for axis in self.axes
        }


def _problem(axis: Axis) -> str | None:
    if axis.key == "seed":
        return (
            "a search over seeds finds a lucky seed; search with one, then repeat the best trial with seeds=5"
        )
    if axis.choices:
        return None
    if axis.low is None or axis.high is None or not (math.isfinite(axis.low) and math.isfinite(axis.high)):
        return "expected values or an interval with two ends, as in interval(0.1, 0.9)"
    if axis.low >= axis.high:
        return f"the interval from {axis.low} to {axis.high} is empty; put the lower end first"
    if axis.is_log and axis.low <= 0:
        return f"a logarithmic scale cannot contain {axis.low}; start above 0"
    return None


def _are_numbers(axis: Axis) -> bool:
    """Return whether all choices are finite numbers."""
    try:
        return all(math.isfinite(float(text)) for text in axis.choices)
    except ValueError:
        return False


def _in_order(axis: Axis) -> Axis:
    texts = dict.fromkeys(axis.choices)
    return dataclasses.replace(axis, choices=tuple(sorted(texts, key=float) if _are_numbers(axis) else texts))


def _values(axis: Axis) -> Sequence[Any] | None:
    """Return all values that Optuna may propose, None for an interval of floats."""
    if axis.choices:
        return range(len(axis.choices)) if _are_numbers(axis) else axis.choices
    low, high = axis.ends()
    return range(int(low), int(high) + 1) if axis.is_int else None


def _corner_values(axis: Axis) -> Sequence[Any]:
    if axis.choices and not _are_numbers(axis):
        return axis.choices
    return (0, len(axis.choices) - 1) if axis.choices else axis.ends()


def _distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        last = len(axis.choices) - 1
        return IntDistribution(0, last) if _are_numbers(axis) else CategoricalDistribution(axis.choices)
    low, high = axis.ends()
    if axis.is_int:
        return IntDistribution(int(low), int(high), log=axis.is_log)
    return FloatDistribution(low, high, log=axis.is_log)


def _text(axis: Axis, value: Any) -> str:
    if axis.choices:
        return axis.choices[int(value)] if _are_numbers(axis) else str(value)
    if axis.is_int:
        return str(value)
    low, high = axis.ends()
    rounded = repr(float(f"{value:.6g}"))  # 16.0, not 16, which an integer key would accept
    return rounded if low <= float(rounded) <= high else repr(min(max(value, low), high))
