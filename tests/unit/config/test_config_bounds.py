"""Values that would fail later are refused before: beyond bounds, beyond memory, outside the output root."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import load_settings
from twotower.config import memory
from twotower.config.errors import InputError
from twotower.config.memory import memory_problem, usable_bytes
from twotower.jobs.run_config import checked_run

Refusal = Callable[..., str]


def test_bounds_are_inclusive() -> None:
    choices = "embedding_dim=4096 history.length=10000 split.valid=1e6 optimizer.learning_rate=1e30"
    others = "metrics.num_bootstrap=100000 objective.batch_size=1000000 seed=4294967295"
    settings = load_settings("train", ["data=synthetic", *choices.split(), *others.split()])
    assert settings["history"]["length"] == 10_000


@pytest.mark.parametrize("name", ["/abs", "..", "a/../../up", ".cache", "a/.b", "", "a//b", "a/", "'.'"])
def test_a_name_stays_below_the_output_root(only_line: Refusal, name: str) -> None:
    assert only_line(f"name='{name}'" if "'" not in name else f"name={name}").startswith(
        "name: expected a folder"
    )


@pytest.mark.parametrize("name", ["a/b", "it s", "a..b", "é" * 127])
def test_other_names_are_accepted(name: str) -> None:
    assert load_settings("train", [f"name='{name}'"])["name"] == name


def test_names_that_the_file_system_cannot_store_are_refused(only_line: Refusal, tmp_path: Path) -> None:
    assert only_line(f"name={'x' * 300}") == (
        "name: xxxxxxxxxxxxxxxxxxxx... has 300 bytes; the name of a folder has at most 255"
    )
    assert "has 256 bytes" in only_line(f"name='{'é' * 128}'")
    assert "output_root: yyy" in only_line(f"output_root={tmp_path}/{'y' * 300}")
    assert "4096 are allowed, of which files of runs need" in only_line(f"name={'/'.join(['x' * 200] * 20)}")
    assert "is not UTF-8 text" in only_line("name=\udcff")
    settings = {key: value for key, value in load_settings("train", []).items() if key not in SWEEP_ONLY}
    settings |= {"output_root": "a\0b"}
    with pytest.raises(InputError, match="output_root: "):
        checked_run(settings)


def test_memory_limit_is_the_smallest_of_machine_container_and_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", tmp_path / "memory.max")
    limits: list[Any] = [resource.RLIM_INFINITY]
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (limits[0], resource.RLIM_INFINITY))
    assert usable_bytes() == 4_096_000
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_bytes() == 4_096_000
    (tmp_path / "memory.max").write_text("3000000\n")
    assert usable_bytes() == 3_000_000
    limits[0] = 2_000_000
    assert usable_bytes() == 2_000_000
    assert memory_problem("2 things", 2_000_000) is None
    said = "2 things take about 3.0 GB, and this process may use 0.0 GB"
    assert memory_problem("2 things", 3e9) == said


def test_synthetic_data_beyond_memory_is_refused(only_line: Refusal) -> None:
    line = only_line("data=synthetic", "data.num_users=2147483647")
    assert line.startswith("data.num_users: 2,147,483,647 users and 1,000 items take about ")
    assert line.endswith("; lower num_users, num_items, num_interactions or latent_dim")
