"""The registry of trainings: towers are taken only from a run that is there, as it was."""

from pathlib import Path

import pytest

from twotower.experiments.runs.trainings import find, remember

FINGERPRINT = "f" * 64


def trained(root: Path, name: str = "default/now", text: str = "weights") -> Path:
    """A run that has trained."""
    run = root / name
    (run / "checkpoints" / "fit").mkdir(parents=True)
    (run / "checkpoints" / "fit" / "best.ckpt").write_text(text)
    (run / "checkpoints" / "final.ckpt").write_text(f"final {text}")
    (run / "result.json").write_text("{}")
    return run


def entry(root: Path) -> Path:
    return root / ".cache" / "trainings" / f"{FINGERPRINT}.json"


def test_the_latest_run_of_a_training_is_found(tmp_path: Path) -> None:
    assert find(tmp_path, FINGERPRINT) is None
    remember(tmp_path, FINGERPRINT, trained(tmp_path, "default/first"))
    second = trained(tmp_path, "default/second", "other weights")
    remember(tmp_path, FINGERPRINT, second)
    assert find(tmp_path, FINGERPRINT) == second
    assert find(tmp_path, "e" * 64) is None


def test_a_deleted_or_damaged_run_is_not_found(tmp_path: Path) -> None:
    run = trained(tmp_path)
    remember(tmp_path, FINGERPRINT, run)
    renamed = run.rename(tmp_path / "default" / "renamed")
    assert find(tmp_path, FINGERPRINT) is None
    renamed.rename(run)
    assert find(tmp_path, FINGERPRINT) == run
    (run / "checkpoints" / "final.ckpt").write_text("final weighty")
    assert find(tmp_path, FINGERPRINT) is None


def test_a_run_without_checkpoints_is_not_found(tmp_path: Path) -> None:
    run = tmp_path / "default" / "empty"
    run.mkdir(parents=True)
    remember(tmp_path, FINGERPRINT, run)
    assert find(tmp_path, FINGERPRINT) is None


def test_records_stay_valid_if_all_runs_move(tmp_path: Path) -> None:
    remember(tmp_path / "a", FINGERPRINT, trained(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert find(tmp_path / "b", FINGERPRINT) == tmp_path / "b" / "default" / "now"


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"run": "default/now", "files": {}}', '{"run": "default/now", "files": ["a"]}'],
)
def test_a_damaged_record_is_ignored_and_replaced(tmp_path: Path, text: str) -> None:
    run = trained(tmp_path)
    remember(tmp_path, FINGERPRINT, run)
    entry(tmp_path).write_text(text)
    assert find(tmp_path, FINGERPRINT) is None
    entry(tmp_path).write_bytes(b"\xff\xfe")
    assert find(tmp_path, FINGERPRINT) is None
    remember(tmp_path, FINGERPRINT, run)
    assert find(tmp_path, FINGERPRINT) == run
