"""A key that a sweep varies."""

from dataclasses import dataclass


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
