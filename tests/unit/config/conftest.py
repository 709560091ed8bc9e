from collections.abc import Callable

import pytest

from twotower.commands.compose import load_settings
from twotower.config.errors import InputError

Refusal = Callable[..., str]


@pytest.fixture
def refusal() -> Refusal:
    """What a command says to mistaken overrides."""

    def of(*overrides: str, command: str = "train") -> str:
        with pytest.raises(InputError) as caught:
            load_settings(command, list(overrides))
        return str(caught.value)

    return of


@pytest.fixture
def only_line(refusal: Refusal) -> Refusal:
    """The line of the one mistake there is."""

    def of(*overrides: str) -> str:
        first, *lines = refusal(*overrides).split("\n")
        assert first == "1 mistake in the configuration; nothing was read or written"
        assert len(lines) == 1
        return lines[0].strip()

    return of
