"""Results of ended jobs, their comparison with new ones, and means over seeds by a table of Student's t."""

import json
import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.experiments.console.sweep_summary import SeedSummary
from twotower.experiments.launchers.launcher import JobError
from twotower.experiments.runs.outcome import Outcome
from twotower.experiments.runs.result import FORMAT_VERSION, Result, write_result
from twotower.experiments.runs.sections import training_identity
from twotower.experiments.sweeps.schedule import find_outdated, settle, summarize_seeds
from twotower.experiments.sweeps.sweep import Job
from twotower.files.lock import lock_folder


def died() -> "Future[int]":
    future: Future[int] = Future()
    future.set_exception(JobError("the worker was killed"))
    return future


def job(folder: Path, settings: dict[str, Any] | None = None) -> Job:
    return Job("seed=3", folder, settings or {"seed": 3}, ("seed=3",), "towers")


def test_a_job_that_died_without_a_result_leaves_a_failure(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "run"):  # another process works on the run
        assert settle(job(tmp_path), died()) == Result(status="failed", error="the worker was killed")
    assert not (tmp_path / "result.json").exists()
    result = settle(job(tmp_path), died())
    assert result is not None
    assert (result.status, result.error, result.seed) == ("failed", "the worker was killed", 3)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"


def test_the_result_of_a_job_stands_even_if_damaged(tmp_path: Path) -> None:
    write_result(tmp_path, Result(status="ok"))
    assert settle(job(tmp_path), died()) == Result(status="ok")
    (tmp_path / "result.json").write_text('{"status": "o')
    result = settle(job(tmp_path), died())
    assert result is not None
    assert result.status == "failed"
    assert f"{tmp_path}/result.json: damaged" in str(result.error)


@pytest.fixture
def done(tmp_path: Path) -> Job:
    rows = [f"u{user},i{day},2024-01-0{day}" for user in (1, 2) for day in (1, 2, 3, 4)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    settings = load_settings(
        "train",
        [
            "data=table_files",
            "features=table_files",
            f"data.interactions_path='{tmp_path}/log.csv'",
            "data.timestamp_unit=iso",
            "split=leave_one_out",
            f"output_root='{tmp_path}/outputs'",
        ],
    )
    source, split = (
        Source.Config.model_validate(settings["data"]).build(),
        Split.Config.model_validate(settings["split"]).build(),
    )
    data = build_dataset(source, split, tmp_path).fingerprint
    folder = tmp_path / "sweep" / "seed=3"
    folder.mkdir(parents=True)
    result = {
        "format_version": FORMAT_VERSION,
        "status": "ok",
        "data": {"fingerprint": data},
        "training_fingerprint": training_identity(settings, data),
    }
    (folder / "result.json").write_text(json.dumps(result))
    return job(folder, settings)


def test_finished_jobs_are_kept_unless_code_or_data_changed(done: Job, tmp_path: Path) -> None:
    path = done.folder / "result.json"
    record = json.loads(path.read_text())
    assert find_outdated([done]) == []
    path.write_text(json.dumps(record | {"training_fingerprint": "another"}))
    assert find_outdated([done]) == ["seed=3"]
    write_result(done.folder, Result(status="failed"))  # before the data was loaded
    assert find_outdated([done]) == []
    path.write_text(json.dumps(record))
    with (tmp_path / "log.csv").open("a") as file:
        file.write("\nu3,i1,2024-01-05")
    with pytest.raises(InputError, match="the data or the split has changed since seed=3 was trained"):
        find_outdated([done])


TEST = "test/recall_at_20"
T_1, T_2 = 12.7062047, 4.3026527
"""The 97.5 % points of Student's t with 1 and 2 degrees of freedom."""


def outcome(name: str, value: float | None = None, status: str = "ok", **figures: float) -> Outcome:
    """A job whose settings are what its name says."""
    found = figures if value is None else {TEST: value, **figures}
    parts = name.split(",")
    seed = next((int(part.removeprefix("seed=")) for part in parts if part.startswith("seed=")), 42)
    settings = ",".join(part for part in parts if not part.startswith("seed="))
    return Outcome(name, status, 1.0, found, None, Path(name), None, False, settings, seed)


def test_the_mean_of_three_seeds_and_its_interval() -> None:
    (found,) = summarize_seeds([outcome(f"seed={seed}", 1.0 * seed) for seed in (1, 2, 3)], [TEST])
    half = T_2 / math.sqrt(3)  # the standard deviation is 1
    assert (found.configuration, found.metric, found.num_seeds) == ("", TEST, 3)
    assert (found.mean, found.sd) == (2.0, 1.0)
    assert found.interval == pytest.approx((2 - half, 2 + half), abs=1e-6)


def test_each_configuration_has_its_own_seeds() -> None:
    found = summarize_seeds(
        [
            outcome("loss=bce,seed=1", 0.1),
            outcome("loss=other,seed=1", 0.5),
            outcome("loss=bce,seed=2", 0.3),
            outcome("loss=other,seed=2", 0.7),
        ],
        [TEST],
    )
    assert [(each.configuration, each.num_seeds) for each in found] == [("loss=bce", 2), ("loss=other", 2)]
    assert [each.mean for each in found] == pytest.approx([0.2, 0.6])


def test_a_failed_seed_is_left_out() -> None:
    outcomes = [outcome("seed=1", 0.2), outcome("seed=2", status="failed"), outcome("seed=3", 0.4)]
    (found,) = summarize_seeds(outcomes, [TEST])
    assert (found.mean, found.num_seeds) == (pytest.approx(0.3), 2)
    assert summarize_seeds(outcomes[:2], [TEST]) == []  # one seed has no interval
    assert summarize_seeds([], [TEST]) == []
    assert summarize_seeds([outcome("loss=bce,seed=1", 0.1), outcome("loss=other,seed=2", 0.2)], [TEST]) == []


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.randoms())
def test_the_interval_contains_the_mean_in_any_order(values: list[float], random: object) -> None:
    def summary(order: list[int]) -> SeedSummary:
        (found,) = summarize_seeds([outcome(f"seed={place}", values[place]) for place in order], [TEST])
        return found

    order = list(range(len(values)))
    found, other = summary(order), summary(sorted(order, key=lambda place: -place))
    low, high = found.interval
    assert min(values) - 1e-12 <= found.mean <= max(values) + 1e-12
    assert (low + high) / 2 == pytest.approx(found.mean, abs=1e-9)
    assert (high - low) ** 2 >= 4 * found.sd**2 / len(values)  # t is above 1
    assert (found.mean, found.sd) == pytest.approx((other.mean, other.sd))
