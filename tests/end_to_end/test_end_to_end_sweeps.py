"""Sweeps as a user runs them: towers trained once, killed and started again, one folder a job."""

import contextlib
import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forks import SCRIPTS, Fork, start
from in_process import run_script
from quick import QUICK

from twotower.bundle.read import read_bundle

TINY = [
    "data=synthetic",
    "data.num_users=300",
    "data.num_items=120",
    "data.num_interactions=5000",
    "objective.batch_size=256",
    "objective.epoch_requests=1024",
    *QUICK,
    "trainer.max_epochs=2",
    "trainer.checkpoint_every_steps=5",
    "metrics.num_bootstrap=100",
    "metrics.ks=[10,20]",
    "console=jsonl",
    "name=t",
]
DECIDED = "from the half-life of popularity"


def sweep(root: Path, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """Run the command and return the events it printed."""
    done = run_script("train", *TINY, f"output_root={root}", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def results(root: Path) -> dict[str, dict[str, Any]]:
    found = sorted(root.glob("t/*/*/result.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def folder_of(root: Path) -> Path:
    (path,) = root.glob("t/*/sweep.json")
    return path.parent


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("indexes")
    sweep(root, "-m", "index=flat_ip,ivf_flat,ivf_sq")
    return root


def of_towers(result: dict[str, Any]) -> dict[str, float]:
    """The metrics that no index changes."""
    return {key: value for key, value in result["metrics"].items() if not key.startswith("test/")}


def test_jobs_that_differ_after_training_train_once(indexes: Path) -> None:
    found = results(indexes)
    assert set(found) == {"flat_ip", "ivf_flat", "ivf_sq"}
    trained = folder_of(indexes) / "flat_ip"
    assert DECIDED in (trained / "train.log").read_text()
    assert "training_reused_from" not in found["flat_ip"]
    for name in ("ivf_flat", "ivf_sq"):
        assert found[name]["training_reused_from"] == str(trained)
        assert not (folder_of(indexes) / name / "checkpoints").exists()
        assert of_towers(found[name]) == of_towers(found["flat_ip"])
        # What the log decided is known, and not asked for again.
        assert found[name]["training"]["chosen"] == found["flat_ip"]["training"]["chosen"] != {}
        assert DECIDED not in (folder_of(indexes) / name / "train.log").read_text()
        assert found[name]["curves"] == found["flat_ip"]["curves"]
    assert [read_bundle(folder_of(indexes) / name / "bundle").index.factory for name in sorted(found)] == [
        found[name]["index"]["factory"] for name in sorted(found)
    ]
    assert len({found[name]["index"]["factory"] for name in found}) == 3


def test_the_same_sweep_again_does_nothing_and_says_so(indexes: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in indexes.glob("t/*/*/*")}
    events = sweep(indexes, "-m", "index=flat_ip,ivf_flat,ivf_sq")
    ended = [event for event in events if event["event"] == "job_ended"]
    assert [event["skipped"] for event in ended] == [True] * 3
    assert {path: path.stat().st_mtime_ns for path in indexes.glob("t/*/*/*")} == before


def test_checkpoints_that_changed_are_not_reused(indexes: Path) -> None:
    checkpoint = next((folder_of(indexes) / "flat_ip" / "checkpoints").rglob("final.ckpt"))
    before = checkpoint.read_bytes()
    try:
        checkpoint.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        sweep(indexes, "name=other", "index=ivf_flat")
        (path,) = indexes.glob("other/*/result.json")
        assert "training_reused_from" not in json.loads(path.read_text())
    finally:
        checkpoint.write_bytes(before)


QUICK = ["trainer.refit=false", "metrics.num_bootstrap=0"]
TWO = ["-m", "embedding_dim=16,32", *QUICK]


Process = Fork | subprocess.Popen[bytes]


@contextlib.contextmanager
def started(root: Path, *arguments: str) -> Iterator[Process]:
    process = start(SCRIPTS / "train.py", *TINY, f"output_root={root}", *arguments, out=root / "out")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(root: Path, pattern: str, process: Process) -> None:
    until = time.monotonic() + 900
    while not list(root.glob(pattern)):
        assert process.poll() is None, "the sweep ended before"
        assert time.monotonic() < until, f"no {pattern}"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_sweep_killed_in_its_second_job_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    sweep(whole, *TWO)
    name = folder_of(whole).name
    second = killed / "t" / name / "dim32"
    with started(killed, *TWO) as process:
        wait_for(second, "checkpoints/fit/[lf]*.ckpt", process)
        process.kill()
        process.wait()
    assert not (second / "result.json").exists()
    first = {path: path.stat().st_mtime_ns for path in sorted(killed.glob("t/*/*/result.json"))}
    assert len(first) == 1
    events = sweep(killed, *TWO)
    ended = {event["name"]: event for event in events if event["event"] == "job_ended"}
    assert [event["skipped"] for event in ended.values()].count(True) == 1
    assert {path: path.stat().st_mtime_ns for path in first} == first
    log = (second / "train.log").read_text()
    assert "resumes from" in log or "ended in an earlier process" in log
    expected, found = results(whole), results(killed)
    assert {name: result["metrics"] for name, result in found.items()} == {
        name: result["metrics"] for name, result in expected.items()
    }
    assert {name: result["curves"] for name, result in found.items()} == {
        name: result["curves"] for name, result in expected.items()
    }
    tables = [json.loads((folder_of(root) / "sweep.json").read_text()) for root in (whole, killed)]
    quality = [
        [
            (
                job["job"],
                job["status"],
                {k: v for k, v in job["figures"].items() if k.startswith(("best", "test"))},
            )
            for job in table["jobs"]
        ]
        for table in tables
    ]
    assert quality[0] == quality[1]


@pytest.mark.slow
def test_a_failing_job_and_a_damaged_one_end_no_other_and_are_retried_when_asked(tmp_path: Path) -> None:
    fails = ["-m", "optimizer.learning_rate=1e-3,1e30", *QUICK]
    events = sweep(tmp_path, *fails, status=1)
    ended = {event["name"]: event for event in events if event["event"] == "job_ended"}
    assert sorted(event["status"] for event in ended.values()) == ["failed", "ok"]
    (bad,) = (name for name, event in ended.items() if event["status"] == "failed")
    (good,) = ended.keys() - {bad}
    assert "Traceback" in (folder_of(tmp_path) / bad / "train.log").read_text()
    before = results(tmp_path)
    assert before[bad]["seed"] == 42

    path = folder_of(tmp_path) / good / "result.json"
    path.write_text(path.read_text()[:100])
    events = sweep(tmp_path, *fails, status=1)
    again = {event["name"]: event for event in events if event["event"] == "job_ended"}
    assert [event["skipped"] for event in again.values()] == [True, True]
    assert f"{path}: damaged" in again[good]["error"]
    assert again[bad]["error"] == ended[bad]["error"]

    events = sweep(tmp_path, *fails, "retry_failed=true", status=1)
    retried = {event["name"]: event for event in events if event["event"] == "job_ended"}
    assert [event["skipped"] for event in retried.values()] == [False, False]
    assert results(tmp_path)[good]["metrics"] == before[good]["metrics"]


@pytest.mark.slow
def test_a_sweep_in_use_is_refused_with_its_owner(tmp_path: Path) -> None:
    with started(tmp_path, "-m", "seed=1,2", "trainer.max_epochs=30", *QUICK) as process:
        wait_for(tmp_path, "t/*/seed1/config.yaml", process)
        again = [f"output_root={tmp_path}", "-m", "seed=1,2", "trainer.max_epochs=30", *QUICK]
        done = run_script("train", *TINY, *again)
        assert done.returncode == 2
        assert f"in use by process {process.pid} on " in done.stderr


@pytest.mark.slow
def test_seeds_give_a_mean_and_an_interval(tmp_path: Path) -> None:
    sweep(tmp_path, "seeds=2", *QUICK)
    found = results(tmp_path)
    assert set(found) == {"seed42", "seed43"}
    values = [result["metrics"]["test/recall_at_20"] for result in found.values()]
    whole = json.loads((folder_of(tmp_path) / "sweep.json").read_text())
    (summary,) = (each for each in whole["seeds"] if each["metric"] == "test/recall_at_20")
    assert summary["mean"] == pytest.approx(sum(values) / 2)
    assert summary["num_seeds"] == 2
    assert summary["interval"][0] < summary["mean"] < summary["interval"][1]


def test_a_first_look_tries_a_sample_then_all_and_says_how_to_go_on(tmp_path: Path) -> None:
    others = ["shrunk", "wide", "exponential", "all_time", "mlp", "factorization", "sequences"]
    fewer = [f"~sweep.recipes.{name}" for name in others]
    ended = sweep(tmp_path, "sweep=first_look", "sweep.share=0.5", "sweep.minutes=600", *fewer)[-1]
    found = ended["first_look"]
    assert (ended["best"], found["best"]["on"]) == ("default", "whole")
    assert found["best"]["command"] == shlex.join(["twotower", "train", *TINY, f"output_root={tmp_path}"])
    (row,) = found["recipes"]
    sample, whole = (results(tmp_path)[name] for name in ("sample-default", "default"))
    assert row["sample"] == sample["metrics"]["valid/recall_at_20"]
    assert row["whole"] == whole["metrics"]["valid/recall_at_20"]
    assert (sample["training"]["refit"], whole["training"]["refit"]) == (False, True)
    assert sample["data"]["audit"]["user_share"] == 0.5
    assert sample["evaluated"]["valid"]["users"] < whole["evaluated"]["valid"]["users"] * 0.7
