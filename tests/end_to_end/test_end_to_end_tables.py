"""Whatever tables hold: trained with every row, or refused by their place; what looks for more finds it.

`scripts/bench/tables.py` does the same with a thousand tables, each trained.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "bench"))

from tables import attack, fault_of, fit, train  # noqa: E402
from tables_mutated import Case  # noqa: E402

from twotower.config.errors import InputError  # noqa: E402

Told = list[tuple[int, str, str]]


def tried(seeds: range, take: Any) -> tuple[dict[str, int], Told]:
    told: Told = []

    def hear(seed: int, case: Case, outcome: str, text: str) -> None:
        told.append((seed, outcome, f"{case.happened}: {text}"))

    return attack(seeds, take, hear), told


@pytest.mark.slow
def test_sixty_tables_are_taken_whole_or_refused_by_their_place() -> None:
    outcomes, told = tried(range(20_000, 20_060), fit)
    assert [each for each in told if each[1] == "violated"] == []
    assert outcomes["taken"] >= 5
    assert outcomes["refused"] >= 5


@pytest.mark.slow
def test_tables_are_trained() -> None:
    outcomes, told = tried(range(20_000, 20_006), train)
    assert [each for each in told if each[1] == "violated"] == []
    assert outcomes["taken"] >= 1


def lose_a_row(settings: dict[str, Any], folder: Path) -> dict[str, int]:
    counts = fit(settings, folder)
    return counts | {"interactions": counts["interactions"] - 1}


def stumble(settings: dict[str, Any], folder: Path) -> dict[str, int]:
    raise KeyError("user")


def mumble(settings: dict[str, Any], folder: Path) -> dict[str, int]:
    raise InputError("something is wrong")


@pytest.mark.parametrize("take", [lose_a_row, stumble, mumble])
def test_what_must_not_be_is_found(take: Any) -> None:
    outcomes, _ = tried(range(20_000, 20_010), take)
    assert outcomes["violated"] >= 1
    assert outcomes["taken"] == 0


def test_messages_that_are_none() -> None:
    assert fault_of("log.csv: column 'x' is missing") is None
    assert fault_of("2 mistakes in the data\n  log.csv: a\n  users.csv: b") is None
    assert "names neither" in str(fault_of("2 mistakes in the data\n  log.csv: a\n  it is odd"))
    assert "cannot be printed" in str(fault_of("log.csv: \x00"))
    assert "characters" in str(fault_of("log.csv: " + "x" * 9_999))
