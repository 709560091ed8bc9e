"""A key that a sweep varies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A varied key with its values or interval.

    Attributes:
        key: as on the command line, e.g. `loss` or `optimizer.learning_rate`.
        choices: values as typed after `key=`; empty for an interval.
        interval: lower and upper end, included; two integers for an interval of integers.
        is_log: whether the scale is logarithmic.
    """

    key: str
    choices: tuple[str, ...] = ()
    interval: tuple[int, int] | tuple[float, float] | None = None
    is_log: bool = False
