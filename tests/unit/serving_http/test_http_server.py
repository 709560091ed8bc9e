"""Limits that the server takes from the system."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_live import FakeLive

from twotower.serving.http.server import (
    MOST_FILES,
    OTHER_FILES,
    connection_limits,
    find_paths,
    most_connections,
    print_start,
)
from twotower.serving.http.service_config import ServiceConfig


@pytest.fixture
def files() -> Iterator[tuple[int, int]]:
    """The limits on open files, which are the same again afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield soft, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_on_files_is_raised_and_leaves_some_for_others(files: tuple[int, int]) -> None:
    _, hard = files
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    connections = most_connections()
    now, still = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (now, still) == (hard if 0 < hard < MOST_FILES else MOST_FILES, hard)
    assert connections == now - OTHER_FILES
    assert most_connections() == connections


@pytest.mark.parametrize(
    ("bundle", "told", "root", "store"),
    [
        (
            "/outputs/default/run/bundle",
            (None, None),
            "/outputs/default",
            "/outputs/default/run/live.sqlite",
        ),
        ("/data/spring", (None, None), "/data", "/data/live.sqlite"),  # and not the whole disk
        ("/data/spring", ("/srv", "live.db"), "/srv", "live.db"),
        ("/outputs/default/run/bundle", (None, ""), "/outputs/default", None),
    ],
)
def test_bundles_and_live_changes_have_their_places(
    bundle: str, told: tuple[str | None, str | None], root: str, store: str | None
) -> None:
    assert find_paths(Path(bundle), *told) == (Path(root), None if store is None else Path(store))


@pytest.mark.parametrize(
    ("soft", "hard", "files"),
    [
        (1024, 4096, 4096),
        (1024, 1_000_000, MOST_FILES),
        (1024, -1, MOST_FILES),
        (100_000, 1_000_000, None),
        (-1, -1, None),
        (1024, 1024, None),
        (100, 100, None),
    ],
)
def test_a_limit_is_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, files: int | None
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: told.append(limits))
    connections = most_connections()
    assert told == ([] if files is None else [(files, hard)])
    expected = min(files or (MOST_FILES if soft < 0 else soft), MOST_FILES) - OTHER_FILES
    assert connections == max(1, expected)


def test_one_address_gets_a_quarter_unless_told_otherwise() -> None:
    for told, expected in ((None, 192), (0, 0), (5, 5)):
        limits = connection_limits(768, told)
        assert (limits.connections, limits.connections_of_one) == (768, expected)


@pytest.mark.parametrize("console", ["rich", "jsonl", "quiet"])
def test_the_start_says_up_to_when_users_are_known_and_what_is_not_known(
    console: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ServiceConfig(bundle="run", console=console)  # type: ignore[arg-type]
    print_start(config, FakeLive(), has_keys=False)  # type: ignore[arg-type]
    printed = capsys.readouterr()
    assert printed.err.startswith("warning: the bundle does not know 222 interactions of the log")
    assert "twotower train rebuild_bundle=/srv/bundles/run-1 makes a bundle of all data" in printed.err
    if console == "rich":
        assert printed.out.endswith("users are known up to 2020-09-13 12:26:40 UTC\n")
    if console == "jsonl":
        found = json.loads(printed.out)
        assert (found["known_until"], len(found["warnings"])) == ("2020-09-13 12:26:40", 1)
