"""What can be deleted below a folder of runs, what stays, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from twotower.config.errors import InputError
from twotower.files.lock import lock_folder
from twotower.files.plain_values import yaml_text
from twotower.pipeline.cleanup import CleanupPlan, delete, plan
from twotower.runs import trainings
from twotower.runs.result import Result, read_result, write_result

ALL = ("checkpoints", "caches", "failed")


def make_run(
    root: Path, name: str, status: str | None = "ok", settings: dict[str, Any] | None = None, **result: Any
) -> Path:
    folder = root / name
    (folder / "checkpoints" / "fit").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml_text(settings or {}))
    (folder / "checkpoints" / "fit" / "final.ckpt").write_bytes(b"w" * 1_000)
    (folder / "checkpoints" / "data_fingerprint").write_text("data")
    if status in ("ok", "index_rejected"):
        (folder / "bundle").mkdir()
        (folder / "bundle" / "manifest.json").write_text("{}")
        (folder / "bundle" / "config.yaml").write_text("{}")
    if status is not None:
        write_result(folder, Result(**{"status": status, "data": {"fingerprint": "data"}} | result))
    return folder


def make_cache(root: Path, name: str, fingerprint: str) -> Path:
    folder = root / ".cache" / name
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"fingerprint": fingerprint}))
    return folder


def paths(found: CleanupPlan) -> dict[str, set[Path]]:
    return {kind: {each.path for each in found.removals if each.kind == kind} for kind in ALL}


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".run")}


def test_only_unused_files_are_deleted(tmp_path: Path) -> None:
    ok, rejected = make_run(tmp_path, "a/ok"), make_run(tmp_path, "b/rejected", "index_rejected")
    pruned = make_run(tmp_path, "b/pruned", "pruned")
    failed = make_run(tmp_path, "c/failed", "failed", data={"fingerprint": "gone"})
    unended = make_run(tmp_path, "d/unended", None)
    (unended / "checkpoints" / "data_fingerprint").write_text("of the unended")
    used, of_unended = make_cache(tmp_path, "1", "data"), make_cache(tmp_path, "2", "of the unended")
    of_failed, unused = make_cache(tmp_path, "3", "gone"), make_cache(tmp_path, "4", "other")
    lists = tmp_path / ".cache" / "baselines"
    for name in ("data", "other"):
        (lists / name).mkdir(parents=True)
        (lists / name / "ease.npy").write_bytes(b"l" * 10)
    for folder, fingerprint in ((ok, "ok"), (unended, "unended")):
        trainings.remember(tmp_path, fingerprint, folder)

    before = files(tmp_path)
    found = plan(tmp_path, ALL)
    assert files(tmp_path) == before
    note = tmp_path / ".cache" / "trainings" / "ok.json"
    assert paths(found) == {
        "checkpoints": {each / "checkpoints" for each in (ok, rejected, pruned)},
        "caches": {of_failed, unused, lists / "other", note},
        "failed": {failed},
    }
    assert {each.num_bytes for each in found.removals if each.kind == "checkpoints"} == {1_004}
    assert delete(found.removals, tmp_path) == {}
    assert not failed.parent.exists()
    assert {path for path in before if path.name in ("manifest.json", "config.yaml")} - files(tmp_path) == {
        failed / "config.yaml"
    }
    assert all(read_result(each) is not None for each in (ok, rejected, pruned))
    assert (unended / "checkpoints" / "fit" / "final.ckpt").is_file()
    assert used.is_dir()
    assert of_unended.is_dir()
    assert (lists / "data" / "ease.npy").is_file()
    assert plan(tmp_path, ALL).removals == []


def test_running_jobs_and_caches_stay(tmp_path: Path) -> None:
    failed, job = make_run(tmp_path, "a/failed", "failed"), make_run(tmp_path, "sweep/job")
    ended = make_run(tmp_path, "a/ok")
    make_cache(tmp_path, "1", "other")
    early = plan(tmp_path, ALL)
    with lock_folder(failed, "run"), lock_folder(job.parent, "sweep"):
        found = plan(tmp_path, ALL)
        assert paths(found) == {"checkpoints": {ended / "checkpoints"}, "caches": set(), "failed": set()}
        work = "a process uses"
        assert found.excluded[failed] == found.excluded[job / "checkpoints"] == f"{work} it"
        assert found.excluded[tmp_path / ".cache"] == f"{work} {failed}"
    with lock_folder(failed, "run"):  # which was started since the plan
        assert "in use by process" in delete([each for each in early.removals if each.run], tmp_path)[failed]
    write_result(failed, Result(status="ok"))  # it was resumed
    assert "started again after" in delete([each for each in early.removals if each.run], tmp_path)[failed]
    assert (failed / "checkpoints" / "fit" / "final.ckpt").is_file()


def test_files_that_other_runs_need_stay_or_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("outputs")
    trainer = make_run(root, "a/trainer")
    reused = make_run(root, "a/reused", training_reused_from="outputs/a/trainer")
    again = make_run(root, "a/rebuilt", bundle_rebuilt_from="outputs/a/reused")
    found = plan(root, ALL)
    assert found.dependents == {trainer: [again, reused]}
    assert f"without the checkpoints of {trainer}: the same for {again}, {reused}" in found.lines(ALL)

    kept = plan(root, ALL, keep=[again])
    assert paths(kept)["checkpoints"] == {reused / "checkpoints"}
    assert kept.excluded[trainer / "checkpoints"] == "keep= names it, or a run that reuses its towers"

    # The same from another folder than the one in which the runs were started.
    monkeypatch.chdir(root / "a")
    assert plan(tmp_path / root, ALL).dependents == {
        tmp_path / trainer: [tmp_path / again, tmp_path / reused]
    }
    monkeypatch.chdir(tmp_path)

    how = {"run": "outputs/a/rebuilt", "epochs": 2, "replay": 0.5}
    going = make_run(root, "a/going", None, {"warm_start": how})
    found = plan(root, ALL)
    assert paths(found)["checkpoints"] == {reused / "checkpoints", again / "checkpoints"}
    assert found.excluded[trainer / "checkpoints"] == f"{going} warm-starts from it and is not finished"


def test_failed_runs_with_a_bundle_or_live_changes_or_whose_towers_are_reused_stay(tmp_path: Path) -> None:
    bundle, live, trainer = (make_run(tmp_path, f"a/{name}", "failed") for name in ("one", "two", "three"))
    (bundle / "bundle").mkdir()
    (live / "live.sqlite").touch()
    other = make_run(tmp_path, "a/other", training_reused_from=str(trainer))
    found = plan(tmp_path, ALL)
    assert paths(found)["failed"] == set()
    assert found.excluded == {
        bundle: "it contains a bundle",
        live: "it contains live changes of a service",
        trainer: f"{other} reuses its towers",
    }


def test_only_the_selected_kinds_are_deleted(tmp_path: Path) -> None:
    make_run(tmp_path, "a/ok")
    failed = make_run(tmp_path, "a/failed", "failed")
    found = plan(tmp_path, ["failed"])
    assert [each.path for each in found.removals] == [failed]
    assert next(found.lines(["failed"])) == "    0.0 MB  failed runs (1)"
    last = "nothing was deleted; twotower clean apply=true frees 0.0 MB"
    assert found.summary(tmp_path, None) == last


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; name a folder of runs"):
        plan(tmp_path / "none", ALL)
    with pytest.raises(InputError, match=r"keep: .*: not a run"):
        plan(tmp_path, ALL, keep=[tmp_path])
