"""A run's folder: who ended it, what a killed process left in it, and what a signal leaves."""

import json
import logging
import os
import signal
import threading
from pathlib import Path

import pytest

from twotower.config.errors import InputError
from twotower.config.exits import Stopped
from twotower.experiments.runs.result import FORMAT_VERSION, Result, read_result, write_result
from twotower.experiments.runs.run import Run
from twotower.files.lock import lock_folder

SETTINGS = {"console": "quiet", "seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", SETTINGS)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".run.lock")


def test_a_process_that_waited_for_a_run_does_not_end_it_again(run: Run) -> None:
    """Several `resume=` at once: one goes on with the run, the others find that it has ended."""
    waiting, ended = Run.open(run.folder), threading.Event()

    def end() -> None:
        with lock_folder(run.folder, "run"):
            begun.set()
            ended.wait(60)
            write_result(run.folder, Result(status="ok"))

    begun = threading.Event()
    owner = threading.Thread(target=end)
    owner.start()
    begun.wait(60)
    waiting.refuse_if_ended()  # it had not, when the process that now waits looked first
    ended.set()
    with pytest.raises(InputError, match=r"this run has ended \(ok\); there is nothing to resume"):
        waiting.record(logging.NullHandler()).__enter__()
    owner.join()
    assert json.loads((run.folder / "result.json").read_text()) == {
        "format_version": FORMAT_VERSION,
        "status": "ok",
    }


@pytest.mark.parametrize("version", [None, 1, "2"])
def test_a_result_of_another_format_is_refused(run: Run, version: object) -> None:
    content = {"status": "ok"} if version is None else {"status": "ok", "format_version": version}
    (run.folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"run/result\.json: format_version is .* reads 2 only\. Train again"
    ):
        read_result(run.folder)


def test_a_failed_run_is_resumed(run: Run) -> None:
    write_result(run.folder, Result(status="failed", error="words"))
    with run.record(logging.NullHandler()):
        assert not (run.folder / "result.json").exists()


def test_a_run_is_resumed_if_an_older_window_failed(run: Run) -> None:
    window = {"status": "failed", "folder": "windows/1"}
    write_result(run.folder, Result(status="ok", windows=[window, {"status": "ok", "folder": "."}]))
    run.refuse_if_ended()
    write_result(run.folder, Result(status="ok", windows=[window | {"folder": "../source/windows/1"}]))
    with pytest.raises(InputError, match="nothing to resume"):  # the window is in the folder of another run
        run.refuse_if_ended()


def test_a_finished_run_keeps_its_result_if_the_training_of_a_window_fails(run: Run) -> None:
    window = {"status": "failed", "folder": "windows/1"}
    finished = Result(status="ok", windows=[window], metrics={"test/recall_at_20": 0.1})
    write_result(run.folder, finished)
    with pytest.raises(RuntimeError), run.record(logging.NullHandler()):
        raise RuntimeError("no such luck")
    assert read_result(run.folder).metrics == finished.metrics


def test_temporary_files_of_a_killed_process_are_deleted(run: Run) -> None:
    (run.folder / "checkpoints" / "fit").mkdir(parents=True)
    (run.folder / "checkpoints" / "fit" / f".{'a1' * 16}.last.ckpt").write_text("half")
    (run.folder / f".bundle.{'b2' * 16}").mkdir()
    (run.folder / f".bundle.{'b2' * 16}" / "config.yaml").write_text("half")
    with run.record(logging.NullHandler()):
        pass
    assert names(run.folder) == ["checkpoints", "config.yaml", "overrides.yaml", "train.log"]
    assert list((run.folder / "checkpoints" / "fit").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGTERM, "stopped by SIGTERM"), (signal.SIGINT, "interrupted")]
)
def test_a_run_can_be_resumed_after_a_signal(run: Run, number: signal.Signals, words: str) -> None:
    with (
        pytest.raises(Stopped, match=f"; twotower train resume={run.folder} continues it$") as stopped,
        run.record(logging.NullHandler()),
    ):
        os.kill(os.getpid(), number)
    assert stopped.value.status == 128 + number
    assert names(run.folder) == ["config.yaml", "overrides.yaml", "train.log"]
    assert ("stopped by SIGTERM" if number == signal.SIGTERM else "interrupted") in (
        run.folder / "train.log"
    ).read_text()


def test_a_signal_after_the_end_of_a_run_is_reported(run: Run) -> None:
    def end() -> None:
        with run.record(logging.NullHandler()):
            write_result(run.folder, Result(status="ok"))
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match=f"stopped by SIGTERM; {run.folder} has already ended"):
        end()
