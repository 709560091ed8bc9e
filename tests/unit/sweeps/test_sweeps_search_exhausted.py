"""A search without further valid configurations ends with the trials it has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_search import DIM, RATE, VARY, request_of, result_of, run, settings_of

from twotower.config.errors import InputError
from twotower.sweeps.random_search import RandomSearch
from twotower.sweeps.search import Search
from twotower.sweeps.tpe import Tpe

SIX = {RATE: "0.1,0.01", DIM: "16,32,64"}
LISTED = pytest.mark.parametrize(
    "search", [RandomSearch.Config(num_trials=6), Tpe.Config(num_trials=40, num_startup=2)]
)


def never_32(overrides: Sequence[str]) -> dict[str, Any]:
    """The corners are valid; 32 lies between them."""
    settings = settings_of(overrides)
    if settings[DIM] == "32":
        raise InputError("embedding_dim: 32 is not valid")
    return settings


@LISTED
def test_a_search_ends_with_the_existing_trials_and_one_warning(
    search: Search.Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = search.build(request_of(tmp_path, SIX, never_32))
    jobs = run(plan)
    assert plan.next([]) is None
    assert len({job.overrides for job in jobs}) == 4
    assert plan.num_jobs == 4
    assert len(plan.summary()["search"]["trials"]) == 4
    message = capsys.readouterr().err
    assert message.count("warning:") == 1
    assert message.startswith("warning: the search ends with 4 of 6 trials: ")
    assert "embedding_dim: 32 is not valid" in message


def test_running_trials_continue_and_the_same_command_adds_none(tmp_path: Path) -> None:
    plan = RandomSearch.Config(num_trials=6).build(request_of(tmp_path, SIX, never_32))
    running = [job for _ in range(4) if (job := plan.next([])) is not None]
    assert plan.next(running) is None
    for job in running:
        plan.ended(job, result_of(job))
    assert plan.summary()["search"]["states"] == {"complete": 4}
    again = RandomSearch.Config(num_trials=6).build(request_of(tmp_path, SIX, never_32))
    assert len(again.done_before()) == 4
    assert again.next([]) is None


def test_an_infinite_space_with_hardly_any_valid_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    is_open = True

    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        if not is_open:
            raise InputError("no more")
        return settings_of(overrides)

    plan = RandomSearch.Config(num_trials=6).build(request_of(tmp_path, VARY, compose))
    assert plan.next([]) is not None
    is_open = False
    assert plan.next([]) is None
    assert "1 of 6 trials: none of 100 proposals in a row" in capsys.readouterr().err


@pytest.mark.parametrize("vary", [SIX, VARY])
def test_a_search_without_any_trial_is_an_input_error(vary: dict[str, str], tmp_path: Path) -> None:
    is_open = True

    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        if not is_open:
            raise InputError("closed")
        return settings_of(overrides)

    plan = RandomSearch.Config(num_trials=6).build(request_of(tmp_path, vary, compose))
    is_open = False
    with pytest.raises(InputError, match=r"none of 100 proposals in a row(.|\n)*closed"):
        plan.next([])


def test_a_configuration_is_checked_once_for_a_trial(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        asked.append(tuple(overrides))
        return never_32(overrides)

    plan = RandomSearch.Config(num_trials=6).build(request_of(tmp_path, SIX, compose))
    run(plan, num=4)
    asked.clear()
    assert plan.next([]) is None
    assert len(asked) == len(set(asked)) == 2
