import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from launcher_tasks import is_alive

from twotower.experiments.launchers.launcher import THREADS, JobError, num_cores
from twotower.experiments.launchers.local import Local

HERE = str(Path(__file__).parent)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Local]]:
    monkeypatch.setattr(sys, "path", [*sys.path, HERE])
    entered: list[Local] = []

    def start(task: str = "launcher_tasks.run", **arguments: int) -> Local:
        entered.append(Local(Local.Config(**arguments), task, tmp_path))
        entered[-1].__enter__()
        return entered[-1]

    yield start
    for launcher in entered:
        launcher.__exit__(None, None, None)


def test_a_worker_runs_job_after_job_and_is_replaced_if_it_dies(
    local: Callable[..., Local], tmp_path: Path
) -> None:
    launcher = local(num_workers=4)
    assert launcher.workers == {}
    log = tmp_path / "workers" / "0.log"
    with pytest.raises(JobError, match=rf"killed by signal 9 \(out of memory\?\); see {log}"):
        launcher.submit({"do": "be_killed"}).result()
    with pytest.raises(JobError, match=rf"ended with exit status 7; see {log}"):
        launcher.submit({"do": "leave", "status": 7}).result()
    assert launcher.submit({"do": "answer", "status": 4}).result() == 4
    process = launcher.submit({"do": "process"}).result()
    assert launcher.submit({"do": "process"}).result() == process
    os.kill(process, signal.SIGKILL)  # while idle
    launcher.workers[0].process.join()
    assert launcher.submit({"do": "process"}).result() != process
    assert list(launcher.workers) == [0]


def test_output_of_a_job_is_in_the_log(
    local: Callable[..., Local], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = local(num_workers=1)
    assert launcher.submit({"do": "speak", "folder": "a/b"}).result() == 0  # and there is nothing to read
    with pytest.raises(JobError, match="ValueError: told to"):
        launcher.submit({"do": "fail", "message": "told to"}).result()
    log = (tmp_path / "workers" / "0.log").read_text()
    for text in ("==== a/b", "from python", "from descriptor 1", "from descriptor 2", "from a child"):
        assert log.count(text) == 1
    assert "Traceback" in log
    assert capfd.readouterr() == ("", "")


def test_an_unknown_task_is_reported(local: Callable[..., Local]) -> None:
    with pytest.raises(JobError, match="ModuleNotFoundError: No module named 'nowhere'"):
        local("nowhere.task").submit({}).result()


@pytest.mark.parametrize(
    ("arguments", "limit", "expected"),
    [
        ({"num_workers": 1}, None, None),
        ({"num_workers": 2}, None, 4),
        ({"num_workers": 3}, None, 2),
        ({"num_workers": 20}, None, 1),
        ({}, None, 1),
        ({"num_workers": 2}, "3", 3),
        ({"num_workers": 2}, "16", 4),
        ({"num_workers": 1, "threads_per_worker": 5}, "3", 5),
    ],
)
def test_cores_are_divided_among_workers(
    arguments: dict[str, int],
    limit: str | None,
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("twotower.experiments.launchers.local.num_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    environment = Local.Config(**arguments).environment()
    assert [environment.get(name) for name in THREADS] == [expected and str(expected)] * len(THREADS)


def test_torch_and_faiss_use_the_threads_of_the_worker(local: Callable[..., Local]) -> None:
    num_threads = min(2, num_cores())
    launcher = local(num_workers=2, threads_per_worker=num_threads)
    assert launcher.submit({"do": "threads"}).result() == 11 * num_threads


@pytest.mark.parametrize(("text", "cores"), [("100000 100000", 1), ("max 100000", None), ("5000 100000", 1)])
def test_cores_of_a_container(
    text: str, cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("twotower.experiments.launchers.launcher.QUOTA", quota)
    everything = num_cores()  # no such file
    assert everything == len(os.sched_getaffinity(0))
    quota.write_text(text + "\n")
    assert num_cores() == (cores or everything)


PARENT = """
import sys, time
from pathlib import Path
from twotower.experiments.launchers.local import Local

with Local(Local.Config(num_workers=2), "launcher_tasks.run", Path(sys.argv[1])) as launcher:
    launcher.submit({"do": "write_on", "file": sys.argv[1] + "/written"})
    assert launcher.submit({"do": "process"}).result()  # and an idle one
    time.sleep(60)
"""


def is_worker(process: psutil.Process) -> bool:
    """Not the resource tracker of multiprocessing."""
    return "spawn_main" in " ".join(process.cmdline())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_the_parent(number: signal.Signals, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])},
        stderr=subprocess.DEVNULL,
    )
    files = [tmp_path / name for name in ("written", "written.pid", "written.child.pid")]
    workers: list[int] = []
    for _ in range(30_000):
        assert parent.poll() is None
        workers = [child.pid for child in psutil.Process(parent.pid).children() if is_worker(child)]
        if len(workers) == 2 and all(path.is_file() and path.stat().st_size for path in files):
            break
        time.sleep(0.02)
    assert len(workers) == 2
    everyone = [*workers, *(int(path.read_text()) for path in files[1:])]
    parent.send_signal(number)
    parent.wait(600)
    ends = time.monotonic() + 600
    while any(is_alive(process) for process in everyone) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(is_alive(process) for process in everyone)
    size = files[0].stat().st_size
    time.sleep(0.2)
    assert files[0].stat().st_size == size
