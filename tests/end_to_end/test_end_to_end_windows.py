"""Runs of `split=rolling`: reuse, resume, comparison, and a sweep that chooses by the mean."""

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from in_process import run_command
from quick import QUICK
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import result_in

from twotower.config.exits import Stopped
from twotower.jobs import train_run

TINY = [
    *("data=synthetic", "data.num_users=200", "data.num_items=60", "data.num_interactions=3000"),
    *("trainer=smoke", *QUICK, "metrics.num_bootstrap=0", "metrics.ks=[20]"),
    *("split=rolling", "split.num_windows=3", "console=jsonl"),
]
MEAN = "mean_valid/recall_at_20"


def train(root: Path, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    done = run_command("train", *TINY, f"output_root={root}", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def curves(folder: Path | str) -> Sequence[Any]:
    """Return what a training computed: the learning curves, and the metrics."""
    result = result_in(folder)
    return result["curves"], result["metrics"]


@pytest.mark.slow
def test_a_run_of_windows_resumes_reuses_and_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def run_job(payload: Mapping[str, Any]) -> int:
        started.append(Path(payload["folder"]).name)
        if started == ["2", "1"]:
            raise Stopped(signal.SIGTERM, "the window itself")
        return unpatched(payload)

    unpatched = train_run.run_job
    monkeypatch.setattr(train_run, "run_job", run_job)
    done = run_command("train", *TINY, f"output_root={tmp_path}")
    assert done.returncode == 128 + signal.SIGTERM
    (folder,) = (tmp_path / "default").iterdir()
    assert '"result"' not in done.stdout  # older windows do not print theirs
    assert f"twotower train resume='{folder}'" in done.stderr.replace(
        f"resume={folder}", f"resume='{folder}'"
    )
    assert not (folder / "result.json").exists()
    assert run_command("train", f"resume={folder}").returncode == 0
    assert started == ["2", "1", "1"]  # the window that had finished was not trained again

    result = result_in(folder)
    assert [each["folder"] for each in result["windows"]] == ["windows/1", "windows/2", "."]
    assert all(each["status"] == "ok" for each in result["windows"])
    values = [each["metrics"]["valid/recall_at_20"] for each in result["windows"]]
    assert result["windows_summary"]["metrics"]["valid/recall_at_20"]["mean"] == pytest.approx(
        sum(values) / 3
    )
    events = EventAccumulator(str(folder)).Reload()
    curve = events.Scalars("7 windows/valid/recall_at_20")
    assert [(each.step, each.value) for each in curve] == [
        (n, pytest.approx(v)) for n, v in enumerate(values, 1)
    ]
    alone = train(tmp_path, "split.window=2", "reuse=false")[-1]["folder"]
    assert curves(folder / "windows" / "2") == curves(alone)
    assert result["data"]["audit"]["future_leak_rate"] == 0

    for words in (("reindex", "index=flat_ip"), ("evaluate", "metrics.ks=[20]")):
        before = set(folder.parent.iterdir())
        assert run_command(words[0], f"run={folder}", words[1]).returncode == 0
        (derived,) = set(folder.parent.iterdir()) - before
        carried = result_in(derived)
        assert carried["windows_summary"] == result["windows_summary"]
        places = [(derived / each["folder"]).resolve() for each in carried["windows"]]
        assert places == [folder / "windows" / "1", folder / "windows" / "2", folder]
        assert carried["windows"][0]["metrics"] == result["windows"][0]["metrics"]

    before = set(folder.parent.iterdir())
    done = run_command("evaluate", f"run={folder}", "metrics.filter_seen=false")
    assert "evaluated in another way: the figures of older windows" in done.stdout
    (unfiltered,) = set(folder.parent.iterdir()) - before
    other = result_in(unfiltered)
    assert other["metrics"]["test/recall_at_20"] != result["metrics"]["test/recall_at_20"]
    assert not {"windows", "windows_summary", "feature_importance", "new_items"} & other.keys()
    assert other["curves"].keys() == {tag for tag in result["curves"] if not tag.startswith("valid/")}
    assert other["index"]["label_difference"] == {}

    again = Path(train(tmp_path, f"trainer.monitor={MEAN}")[-1]["folder"])
    for window in (".", "windows/1", "windows/2"):
        assert result_in(again / window)["training_reused_from"] is not None
        assert curves(again / window) == curves(folder / window)
    assert result_in(again)["windows_summary"] == result["windows_summary"]
    compared = run_command("compare", str(folder), str(again), "metric=mean_test/recall_at_20", "json=-")
    table = json.loads(compared.stdout)
    assert "Kendall's tau" not in compared.stderr  # both runs have equal figures
    assert table["metric"] == "mean_test/recall_at_20"


@pytest.mark.slow
def test_a_failed_window_is_named_and_there_is_no_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_job(payload: Mapping[str, Any]) -> int:
        started.append(Path(payload["folder"]).name)
        if started == ["2", "1"]:
            raise RuntimeError("no such luck")
        return unpatched(payload)

    started: list[str] = []
    unpatched = train_run.run_job
    monkeypatch.setattr(train_run, "run_job", run_job)
    said = train(tmp_path)
    folder = said[-1]["folder"]
    remedy = f"no such luck; twotower train resume={folder} trains it again"
    assert any(
        f"window 1 of 3 failed, so there is no mean: {remedy}" in each.get("text", "") for each in said
    )
    result = result_in(folder)
    assert (result["status"], result["windows_summary"]) == ("ok", {})
    assert [each["status"] for each in result["windows"]] == ["failed", "ok", "ok"]
    before, earlier, bundle = curves(folder), result, Path(folder, "bundle").stat().st_ctime_ns
    assert run_command("train", f"resume={folder}").returncode == 0
    assert started == ["2", "1", "1"]
    assert Path(folder, "bundle").stat().st_ctime_ns == bundle
    result = result_in(folder)
    assert result["metrics"] == earlier["metrics"]
    assert set(earlier["warnings"]) - set(result["warnings"]) == {
        text for text in earlier["warnings"] if "window 1 of 3 failed" in text
    }
    assert [each["status"] for each in result["windows"]] == ["ok", "ok", "ok"]
    assert "valid/recall_at_20" in result["windows_summary"]["metrics"]
    assert curves(folder) == before
    assert len((tmp_path / "test_ledger.jsonl").read_text().splitlines()) == 3  # one for each window
    assert run_command("train", f"resume={folder}").returncode == 2


@pytest.mark.slow
def test_a_sweep_chooses_by_the_mean_over_windows(tmp_path: Path) -> None:
    axes = ("-m", "optimizer.learning_rate=0.003,0.3", f"trainer.monitor={MEAN}", "split.num_windows=2")
    ended = train(tmp_path, *axes)[-1]
    (sweep,) = (tmp_path / "default").iterdir()
    means = {
        path.parent.name: json.loads(path.read_text())["windows_summary"]["metrics"]["valid/recall_at_20"][
            "mean"
        ]
        for path in sweep.glob("*/result.json")
    }
    assert ended["metric"] == MEAN
    assert ended["best"] == max(means, key=means.__getitem__)
    assert ended["value"] == max(means.values())


def test_the_mean_needs_windows(tmp_path: Path) -> None:
    for split in (["split=temporal"], ["split=rolling", "split.window=3"]):
        done = run_command("train", f"output_root={tmp_path}", f"trainer.monitor={MEAN}", *split)
        assert done.returncode == 2
        assert "needs split=rolling with split.window=null" in done.stderr
