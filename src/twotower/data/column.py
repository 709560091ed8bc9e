"""A column, as messages name it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError


def quoted(value: Any) -> str:
    """Return a value as its file would show it, text in quotes and anything long cut short."""
    return f"{value!r:.80}" if isinstance(value, str) else " ".join(f"{value!s:.80}".split())


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a file (`origin`); a named index says where its rows come from ("line" 7)."""

    values: "pd.Series[Any]"
    origin: str
    name: str

    def place(self, position: int) -> str:
        """Return where a row is: the value of a named index, or its number from 1."""
        index = self.values.index
        return f"row {position + 1}" if index.name is None else f"{index.name} {quoted(index[position])}"

    def found(self, position: int) -> str:
        """Return a value as a message quotes it."""
        if bool(self.values.isna().iloc[position]):
            return "nothing (NaN)"
        value = self.values.iloc[position]
        return quoted(value) if isinstance(value, str) else f"{quoted(value)} ({type(value).__name__})"

    def refuse(self, wrong: NDArray[np.bool_], say: Callable[[int], str], remedy: str = "") -> None:
        """Refuse rows, if there are any: the first by its place and what to `say` of it, and how many.

        Raises:
            InputError: there are some.
        """
        if wrong.any():
            position, number = int(wrong.argmax()), int(wrong.sum())
            rows = f" ({number:,} such rows in all)" if number > 1 else ""
            place = f"{self.origin}: column {self.name!r}, {self.place(position)}"
            raise InputError(f"{place}: {say(position)}{rows}{remedy}")
