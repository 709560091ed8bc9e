"""A run once more: what is compared with what, and what is said of the difference. Nothing is trained."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from twotower.config.errors import InputError
from twotower.pipeline import rerun as repeat
from twotower.pipeline.rerun import DONE, FAILED, differences, not_reproduced, rerun
from twotower.pipeline.run_config import RunConfig
from twotower.runs.provenance import provenance, versions
from twotower.runs.result import Data, Provenance, Result, Status, read_result, write_result
from twotower.runs.run import Run

THEN: dict[str, Any] = {
    "versions": {"python": "3.11.0", "torch": "2.9.0"},
    "provenance": {
        "code": {"fingerprint": "f" * 64, "commit": "a" * 40, "dirty": False},
        "machine": {"cpu": "A", "cores": 4, "threads": 2},
    },
}


def differences_from(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return differences(Result(status="ok", **before), Provenance(**now["provenance"]), now["versions"])


def now(**changes: Any) -> dict[str, Any]:
    """The same as then, but for `part__key=value`."""
    found = copy.deepcopy(THEN)
    for path, value in changes.items():
        *parts, key = path.split("__")
        place = found
        for part in parts:
            place = place[part]
        place[key] = value
    return found


def test_equal_runs_have_no_differences() -> None:
    assert differences_from(THEN, now()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"versions__torch": "2.10.0"}, "versions: torch 2.9.0, now 2.10.0"),
        ({"versions__scipy": "1.0"}, "versions: scipy None, now 1.0"),
        ({"provenance__machine__cpu": "B"}, "machine: cpu A, now B"),
        ({"provenance__machine__threads": 1}, "machine: threads 2, now 1"),
        (
            {"provenance__code__fingerprint": "0" * 64, "provenance__code__commit": "b" * 40},
            "code: commit aaaaaaaaaa, now bbbbbbbbbb, or uncommitted changes",
        ),
        (
            {"provenance__code__fingerprint": "0" * 64, "provenance__code__commit": None},
            "code: commit aaaaaaaaaa, now unknown, or uncommitted changes",
        ),
    ],
)
def test_each_difference_is_reported_with_both_values(changes: dict[str, Any], words: str) -> None:
    assert differences_from(THEN, now(**changes)) == [words]


def test_another_commit_with_the_same_code_is_no_difference() -> None:
    assert differences_from(THEN, now(provenance__code__commit="b" * 40, provenance__code__dirty=True)) == []


def test_without_provenance_code_and_machine_are_unknown() -> None:
    assert differences_from({"versions": THEN["versions"]}, now()) == [
        "code: commit unknown, now aaaaaaaaaa, or uncommitted changes",
        "machine: cores None, now 4",
        "machine: cpu None, now A",
        "machine: threads None, now 2",
    ]


def bundle(folder: Path, towers: bytes) -> Path:
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "towers.safetensors").write_bytes(towers)
    return folder


def test_metrics_and_towers_are_compared_bit_by_bit(tmp_path: Path) -> None:
    one, same, other = (
        bundle(tmp_path / name, towers) for name, towers in zip("abc", (b"1", b"1", b"2"), strict=True)
    )
    metrics = Result(status="ok", metrics={"test/recall_at_20": 0.1 + 0.2, "x": 1.0})
    assert not_reproduced(metrics, metrics, one, same) == []
    more = metrics.update(metrics={"test/recall_at_20": 0.3, "x": 1.0, "y": 2.0})
    assert not_reproduced(metrics, more, one, same) == [
        "test/recall_at_20: 0.30000000000000004, now 0.3",
        "y: None, now 2.0",
    ]
    assert not_reproduced(metrics, metrics, one, other) == ["bundle/towers.safetensors: different bytes"]
    assert not_reproduced(metrics, metrics, one, tmp_path) == []  # no bundle, nothing to compare


def composed(settings: Mapping[str, Any], overrides: Sequence[str], what: str) -> RunConfig:
    """Stands for `checked_run`, which these few settings would not pass."""
    found = RunConfig.model_construct(console=settings["console"])
    found._settings, found._overrides = dict(settings), tuple(overrides)
    return found


class Trainings:
    """Stands for `train`: writes the result it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.result = self.ended()
        self.seen: list[Mapping[str, Any]] = []
        monkeypatch.setattr(repeat, "train", self)
        monkeypatch.setattr(repeat, "checked_run", composed)

    def ended(self, recall: float = 0.25, data: str = "d") -> Result:
        return Result(
            status="ok",
            metrics={"test/recall_at_20": recall},
            data=Data(fingerprint=data),
            provenance=Provenance(**provenance()),
            versions=versions(),
        )

    def __call__(
        self,
        config: RunConfig,
        folder: Path,
        keep_after_input_error: bool,
    ) -> int:
        assert not keep_after_input_error
        self.seen.append(config.settings)
        Run.create(folder, config.settings, config.overrides)
        write_result(folder, self.result)
        return DONE

    def before(self, result: Result | None) -> Path:
        """A run that was there before."""
        run = Run.create(self.root / "then", {"console": "jsonl", "reuse": True, "seed": 7}, ["seed=7"])
        if result is not None:
            write_result(run.folder, result)
        return run.folder

    def again(self) -> Result:
        (folder,) = self.root.glob("rerun=then_*")
        assert Run.open(folder).overrides == ["seed=7"]
        result = read_result(folder)
        assert result is not None
        return result


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trainings:
    return Trainings(monkeypatch, tmp_path)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]


def test_a_repeated_run_is_marked_as_reproduced(
    trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    source = trainings.before(trainings.ended())
    assert rerun(source) == DONE
    result = trainings.again()
    assert (result.reproduced, result.rerun_of, result.changed_since) == (True, str(source), [])
    assert trainings.seen == [{"console": "jsonl", "reuse": False, "seed": 7}]  # its own towers, trained anew
    assert said(capsys) == ["repeated: all 1 metrics and the towers are identical, bit for bit"]


def test_different_metrics_fail_with_the_changes_since_the_run(
    trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trainings.ended(0.5, "older").update(versions=versions() | {"torch": "1.0"})
    assert rerun(trainings.before(before)) == FAILED
    changed = [
        f"versions: torch 1.0, now {versions()['torch']}",
        "data: the content of the files, or the split",
    ]
    result = trainings.again()
    assert (result.reproduced, result.changed_since) == (False, changed)
    assert result.status == "ok"  # of the new run itself
    printed = capsys.readouterr()
    assert json.loads(printed.out)["text"] == f"changed since the run: {changed[0]}"
    assert printed.err.splitlines() == [
        "not repeated: 1 differ, such as test/recall_at_20: 0.5, now 0.25",
        f"changed since the run: {'; '.join(changed)}",
    ]


def test_different_metrics_without_a_known_cause_ask_for_a_report(
    trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rerun(trainings.before(trainings.ended(0.5))) == FAILED
    assert (
        capsys.readouterr().err.splitlines()[-1] == "changed since the run: no known cause; please report it"
    )


def test_the_number_of_threads_is_that_of_the_run(trainings: Trainings) -> None:
    torch.set_num_threads(2)
    before = trainings.ended()
    torch.set_num_threads(1)
    rerun(trainings.before(before))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("status", "words"), [(None, "has not ended"), ("failed", "failed"), ("pruned", "was pruned")]
)
def test_only_finished_runs_can_be_repeated(trainings: Trainings, status: Status | None, words: str) -> None:
    with pytest.raises(InputError, match=f"this run {words}; "):
        rerun(trainings.before(status and Result(status=status)))
    assert trainings.seen == []


def test_settings_that_became_invalid_are_refused_before_training(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real checks: these settings are far from whole
    with pytest.raises(InputError, match=r"mistakes in .*then/config\.yaml\n"):
        rerun(trainings.before(trainings.ended()))
    assert not list(trainings.root.glob("*rerun*"))
