"""A value that is made when it is first asked for."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Makes a value when it is first asked for, once however many threads ask.

    `functools.cached_property` makes it once for each of them, from Python 3.12 on.

    Args:
        make: called once; where it raises, the next who asks tries again.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[T] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """Return the value."""
        with self._lock:
            if self._made is None:
                self._made = (self._make(),)
            return self._made[0]
