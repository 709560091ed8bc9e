"""One key that a sweep varies, and over what."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A key and its values, or the interval they come from.

    Attributes:
        key: as on the command line, e.g. `loss` or `optimizer.learning_rate`.
        choices: values as they stand behind `key=`; empty for an interval.
        low: of an interval or a range.
        high: of an interval or a range, included.
        is_int: whether the interval's values are whole numbers.
        is_log: whether to search it on a logarithmic scale.
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
