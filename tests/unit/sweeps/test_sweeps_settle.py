"""Results of ended jobs, and the comparison of finished jobs with new ones."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from twotower.commands.compose import checked
from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.files.lock import lock_folder
from twotower.launchers.launcher import JobError
from twotower.runs.result import FORMAT_VERSION, Result, write_result
from twotower.runs.sections import training_identity
from twotower.sweeps.schedule import find_outdated, settle
from twotower.sweeps.sweep import Job


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
    settings = checked(
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
