"""A running trial belongs to one live process."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import Fork
from optuna.distributions import IntDistribution

from twotower.config.errors import InputError
from twotower.sweeps.study import SharedStudy, storage_name

IDENTITY = {"vary": {"x": "1,2"}, "objectives": {"valid/recall_at_20": "maximize"}}


def open_shared(folder: Path, identity: dict[str, dict[str, str]] = IDENTITY) -> SharedStudy:
    return SharedStudy(storage_name(None, folder), folder, ["maximize"], identity)


def add(shared: SharedStudy, job: str) -> None:
    with shared.locked():
        shared.add(job, {"x": 1}, {"x": IntDistribution(0, 9)}, ["x=1"])


def claim(shared: SharedStudy, job: str) -> bool:
    with shared.locked():
        return shared.claim(shared.by_job()[job])


def wait_forever(folder: Path) -> Callable[[], None]:
    def main() -> None:
        shared = open_shared(folder)
        add(shared, "theirs")
        (folder / "added").touch()
        time.sleep(600)

    return main


def test_the_trial_of_a_live_process_cannot_be_claimed_and_that_of_a_killed_one_can(tmp_path: Path) -> None:
    other = Fork(wait_forever(tmp_path), tmp_path / "out")
    try:
        while not (tmp_path / "added").exists():
            assert other.poll() is None
        mine = open_shared(tmp_path)
        assert not claim(mine, "theirs")
    finally:
        other.kill()
        other.wait()
    assert claim(mine, "theirs")
    assert not claim(mine, "theirs")  # it runs here already
    assert not claim(open_shared(tmp_path), "theirs")


def test_an_ended_trial_is_released(tmp_path: Path) -> None:
    shared = open_shared(tmp_path)
    add(shared, "done")
    with shared.locked():
        shared.end(shared.by_job()["done"], "ok", [1.0], None)
    assert shared.claims == {}
    assert shared.by_job()["done"].values == [1.0]


def test_a_storage_is_named_so_that_any_process_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_name(None, Path("sweep")) == f"{tmp_path}/sweep/study.journal"
    assert storage_name("a/b.journal", Path("sweep")) == f"{tmp_path}/a/b.journal"
    assert storage_name("sqlite:///a/b.db", Path("sweep")) == f"sqlite:///{tmp_path}/a/b.db"
    assert storage_name("sqlite:////a/b.db", Path("sweep")) == "sqlite:////a/b.db"
    assert storage_name("postgresql://host/db", Path("sweep")) == "postgresql://host/db"


def test_a_study_refuses_other_settings(tmp_path: Path) -> None:
    open_shared(tmp_path)
    assert open_shared(tmp_path).study.user_attrs["about"] == IDENTITY
    with pytest.raises(InputError, match=r"x \(vary\) was '1,2', is not set; y \(vary\) was not set, is '3'"):
        open_shared(tmp_path, IDENTITY | {"vary": {"y": "3"}})
