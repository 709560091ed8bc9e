"""What can be deleted of an output folder, and what stays."""

from pathlib import Path

import pytest

from twotower.commands.entry_points import clean
from twotower.config.errors import InputError
from twotower.experiments.runs.disk_space import CATEGORIES, removable, remove
from twotower.experiments.runs.result import Result, write_result
from twotower.experiments.runs.run import Run
from twotower.files.lock import lock_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an output folder with a run of each status."""
    results = {
        "ok": Result(status="ok"),
        "reusing": Result(status="ok", training_reused_from=str(tmp_path / "shop" / "trained")),
        "trained": Result(status="index_rejected"),
        "rejected": Result(status="index_rejected"),
        "pruned": Result(status="pruned"),
        "failed": Result(status="failed"),
        "interrupted": None,
    }
    for name, result in results.items():
        folder = Run.create(tmp_path / "shop" / name, {"seed": 1}).folder
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "final.ckpt").write_bytes(b"x" * 1000)
        if result is not None:
            write_result(folder, result)
    bundle = tmp_path / "shop" / "reusing" / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text('{"index": {}}')
    return tmp_path


def found(root: Path) -> dict[str, set[str]]:
    """Return the paths of each category, relative to the root."""
    entries = removable(root)
    return {
        name: {each.path.relative_to(root).as_posix() for each in entries if each.category == name}
        for name in CATEGORIES
    }


def test_unsuccessful_runs_and_checkpoints_can_be_deleted(root: Path) -> None:
    assert found(root) == {
        "failed": {"shop/failed", "shop/interrupted"},
        "rejected": {"shop/rejected"},  # and not shop/trained, whose towers another run uses
        "checkpoints": {f"shop/{name}/checkpoints" for name in ("ok", "trained", "pruned")},
    }  # and not shop/reusing/checkpoints: it is the latest run with a bundle


def test_clean_lists_without_deleting_and_deletes_what_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(root.rglob("*"))
    assert clean.task({"output_root": str(root), "delete": []}, [f"output_root={root}"]) == 0
    assert sorted(root.rglob("*")) == before
    printed = capsys.readouterr().out
    assert f"  {root}/shop/rejected" in printed
    command = f"twotower clean output_root={root} 'delete=[failed,rejected,checkpoints]'"
    assert printed.endswith(f"to delete: {command}\n")

    clean.task({"output_root": str(root), "delete": ["failed"]}, [])
    assert not (root / "shop" / "failed").exists()
    assert found(root)["rejected"] == {"shop/rejected"}
    assert capsys.readouterr().out.endswith("to delete: twotower clean 'delete=[rejected,checkpoints]'\n")

    clean.task({"output_root": str(root), "delete": list(CATEGORIES)}, [])
    assert not any(found(root).values())
    assert sorted(path.name for path in (root / "shop").iterdir()) == ["ok", "pruned", "reusing", "trained"]


def test_runs_in_use_stay(root: Path) -> None:
    entries = removable(root)
    with lock_folder(root / "shop" / "failed", "run"):
        now = found(root)
        assert now["failed"] == {"shop/interrupted"}
    with lock_folder(root / "shop" / "failed", "run"), pytest.raises(InputError, match="in use"):
        remove(entries)
    assert (root / "shop" / "failed" / "config.yaml").is_file()
    with lock_folder(root / "shop", "sweep"):  # the jobs of a running sweep
        assert not any(found(root).values())


def test_a_run_with_a_damaged_result_stays(root: Path) -> None:
    (root / "shop" / "ok" / "result.json").write_text("{")
    assert not any("shop/ok" in path for paths in found(root).values() for path in paths)


def test_a_missing_output_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output_root: .*nowhere: no such folder"):
        removable(tmp_path / "nowhere")
