import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import yaml
from launcher_tasks import is_alive

from twotower.config.errors import InputError
from twotower.experiments.launchers.launcher import JobError, Launcher, LostJobError, exit_status
from twotower.experiments.launchers.slurm import Slurm

CONF = Path(__file__).parents[4] / "conf" / "launcher"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
HERE = str(Path(__file__).parent)
SECONDS = 600.0

TWO_AT_ONCE: dict[str, dict[str, Any]] = {
    "serial": {"max_failures": 1},
    "local": {"num_workers": 2, "max_failures": 1},
    "slurm": {"max_jobs": 2, "cluster": "local", "cpus_per_task": 1, "timeout_min": 5, "max_failures": 1},
    "ray": {"max_jobs": 2, "max_failures": 1},
}
NEEDS = {"slurm": "submitit", "ray": "ray"}


def test_every_choice_is_tested() -> None:
    assert set(TWO_AT_ONCE) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_yaml_is_valid(name: str) -> None:
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    assert spec.items() <= Launcher.Config.model_validate(spec).spec().items()


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in NEEDS)) for name in NAMES])
def launcher(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    library = NEEDS.get(request.param)
    if library is not None and importlib.util.find_spec(library) is None:
        pytest.skip(f"launcher={request.param} needs the extra: pip install 'twotower[{request.param}]'")
    monkeypatch.setattr(sys, "path", [*sys.path, HERE])
    if library == "submitit":
        monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)
    spec = yaml.safe_load((CONF / f"{request.param}.yaml").read_text(encoding="utf-8"))
    return Launcher.Config.model_validate(spec | TWO_AT_ONCE[request.param]).build(
        "launcher_tasks.run", tmp_path / "sweep"
    )


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_extra_is_reported_before_any_job_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    launcher = Launcher.Config.model_validate(spec).build("launcher_tasks.run", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (problem,) = launcher.config.problems()
    assert f"pip install 'twotower[{name}]'" in problem[1]
    assert list(tmp_path.iterdir()) == []


def in_turn(launcher: Launcher, payloads: list[dict[str, Any]]) -> Iterator[Future[int]]:
    """Run as many at a time as the launcher takes; yields ended handles in the order of payloads."""
    running: list[Future[int]] = []
    handles: list[Future[int]] = []
    for payload in payloads:
        while len(running) >= launcher.num_workers:
            running = [handle for handle in running if not handle.done()]
            time.sleep(0.01)
        handles.append(launcher.submit(payload))
        running.append(handles[-1])
    for handle in handles:
        wait_for(handle.done)
        yield handle


def wait_for(condition: Any) -> None:
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends, "still waiting"
        time.sleep(0.01)


def test_jobs_run_in_parallel_and_a_killed_one_fails_alone(launcher: Launcher, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    meet = {"do": "meet", "meeting": str(meeting)}
    payloads: list[dict[str, Any]] = [
        {"do": "answer", "status": 3},
        {"do": "fail", "message": "as I was told"},
        {"do": "be_killed"},
        {"do": "answer", "status": 4},
    ]
    with launcher:
        assert not list(launcher.config.problems())
        num_workers = launcher.num_workers
        wanted = {"wanted": num_workers, "seconds": SECONDS if num_workers > 1 else 0}
        payloads += [meet | wanted | {"name": f"first-{name}"} for name in range(num_workers)]
        payloads += [meet | {"wanted": num_workers + 1, "seconds": 0.2, "name": name} for name in range(4)]
        first, failed, killed, fourth, *met = in_turn(launcher, payloads)
        assert (first.result(), fourth.result()) == (3, 4)
        with pytest.raises(JobError, match=r"ValueError: as I was told(.|\n)*; see /"):
            failed.result()
        with pytest.raises(JobError, match=r"; see /") as death:
            killed.result()
        assert Path(str(death.value).rpartition("see ")[2]).is_file()
        together = [handle.result() for handle in met]
    assert num_workers == (1 if "serial" in os.environ["PYTEST_CURRENT_TEST"] else 2)
    assert together[:num_workers] == [num_workers] * num_workers
    assert max(together) == num_workers


def test_a_killed_job_starts_again_and_one_with_an_error_does_not(
    launcher: Launcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = {"resumed": ["be_killed"], "lost": ["be_killed"] * 9, "failed": ["fail"], "refused": ["refuse"]}
    payloads = [
        {"do": "call_again", "ends": each, "file": str(tmp_path / name), "folder": name}
        for name, each in ends.items()
    ]
    with launcher:
        resumed, lost, failed, refused = in_turn(launcher, payloads)
        assert resumed.result() == 2
        with pytest.raises(LostJobError, match="lost 2 times: "):
            lost.result()
        with pytest.raises(JobError, match="ValueError: as I was told; see /") as error:
            failed.result()
        assert type(error.value) is JobError
        with pytest.raises(InputError, match="InputError: as I was told; see /"):
            refused.result()
    calls = {name: (tmp_path / name).stat().st_size for name in ends}
    assert calls == {"resumed": 2, "lost": 2, "failed": 1, "refused": 1}
    warnings = sorted(record.getMessage().partition(": ")[0] for record in caplog.records)
    assert warnings == [f"{name} starts again (1 of at most 1 times)" for name in ("lost", "resumed")]


def test_of_several_processes_the_error_counts_and_not_who_lost_whom() -> None:
    lost, failed = LostJobError("rank 1 cannot be reached"), JobError("the disk is full")
    assert exit_status([0, 3, 0], "log") == 3
    with pytest.raises(JobError, match="the disk is full; see log"):
        exit_status([lost, failed, 0], "log")
    with pytest.raises(LostJobError, match="rank 1 cannot be reached; see log"):
        exit_status([0, lost], "log")


def test_many_jobs_run_as_workers_get_free(launcher: Launcher, tmp_path: Path) -> None:
    payloads = [{"do": "answer", "status": status} for status in (3, 1, 4, 1, 5)]
    with launcher:
        ended = list(launcher.run_all(payloads))
        assert sorted(payload["status"] for payload, _ in ended) == [1, 1, 3, 4, 5]
        assert all(payload["status"] == status for payload, status in ended)
        with pytest.raises(JobError, match="as I was told"):
            list(launcher.run_all([*payloads, {"do": "fail", "message": "as I was told"}]))


def test_leaving_the_launcher_stops_all_jobs_and_their_children(launcher: Launcher, tmp_path: Path) -> None:
    files = [tmp_path / f"written-{number}" for number in range(2)]
    with launcher:
        running = [
            (file, launcher.submit({"do": "write_on", "file": str(file)}))
            for file in files[: launcher.num_workers]
        ]
        for file, handle in running:
            wait_for(lambda file=file: file.is_file() and Path(f"{file}.child").is_file())
            assert not handle.done()
    children = [Path(f"{file}.child") for file, _ in running]
    if isinstance(launcher, Slurm):  # there the cluster sees to what a job has started
        for child in children:
            os.kill(process_of(child), signal.SIGKILL)
    sizes = {file: file.stat().st_size for file in [*(file for file, _ in running), *children]}
    time.sleep(0.3)
    assert {file: file.stat().st_size for file in sizes} == sizes
    assert not any(is_alive(process_of(file)) for file in sizes)
    for _, handle in running:
        assert handle.done()
        with pytest.raises(JobError):
            handle.result()


def process_of(file: Path) -> int:
    return int(Path(f"{file}.pid").read_text())


def test_a_payload_is_transferred_unchanged(launcher: Launcher) -> None:
    payload = {"do": "echo", "text": "naïve ☃\nline", "deep": {"list": [1, 2.5, None, True]}}
    with launcher:
        handle = launcher.submit(payload | {"length": len(json.dumps(payload["deep"]))})
        wait_for(handle.done)
        assert handle.result() == len("naïve ☃\nline")
